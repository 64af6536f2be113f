"""One evaluation as `report.html`, self-contained, and as `report.md`."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from mrl_jax.report import (
  accuracy,
  agreement,
  answers,
  baselines,
  blocks,
  calibration,
  cascade,
  classes,
  cosine,
  curves,
  examples,
  few_shot,
  first,
  margin,
  markdown,
  markup,
  pairs,
  pictures,
  results,
  retrieval,
  robustness,
  search,
  stores,
  tables,
)

# What the first screen holds, from top to bottom.
SCREEN = (
  first.decide,
  first.reason,
  first.main_curve,
  first.main_table,
  first.oddities,
)


class Chapter(NamedTuple):
  """A question, its name in the navigation, its answer, what follows.

  The answer is a function of the evaluation that returns a sentence, a part
  one that yields blocks. Both give nothing where their material is missing.
  """

  question: str
  link: str
  answer: Callable[[results.Evaluation], str]
  parts: tuple[Callable[[results.Evaluation], Iterable], ...]


CHAPTERS = (
  Chapter(
    'How accurate is each dimension?',
    'Accuracy',
    answers.how_accurate,
    (accuracy.against_dimension, few_shot.few_shot),
  ),
  Chapter(
    'Do cosines follow the scores of the pairs?',
    'Pairs',
    answers.follows_scores,
    (pairs.beside, pairs.by_dim),
  ),
  Chapter(
    'Is this embedding nested?',
    'Nesting',
    answers.is_nested,
    (baselines.baselines, baselines.leads),
  ),
  Chapter(
    'Can cheap queries use few dimensions?',
    'Cheap queries',
    answers.cheap_queries,
    (cascade.cascade, agreement.first_right, margin.margin),
  ),
  Chapter(
    'Do the right rows come first?',
    'Ranking',
    answers.right_first,
    (retrieval.retrieval, retrieval.to_full),
  ),
  Chapter(
    'How fast can the nearest rows be found?',
    'Speed',
    answers.how_fast,
    (search.milliseconds, search.mflops, search.methods),
  ),
  Chapter(
    'What does each way to keep the rows cost?',
    'Bytes',
    answers.store_cost,
    (stores.joint_front, stores.every),
  ),
  Chapter(
    'Can the answers be trusted?',
    'Trust',
    answers.trusted,
    (calibration.expected_error, calibration.diagram),
  ),
  Chapter(
    'What happens on bad images?',
    'Bad images',
    answers.bad_images,
    (robustness.corruptions,),
  ),
  Chapter(
    'Which classes suffer?',
    'Classes',
    answers.which_classes,
    (classes.groups, classes.trends),
  ),
  Chapter(
    'How far apart are the classes?',
    'Distances',
    answers.how_far_apart,
    (cosine.cosines, cosine.spans),
  ),
  Chapter(
    'What do the dimensions look like in examples?',
    'Examples',
    answers.in_examples,
    (examples.neighbours,),
  ),
)

ORDER = {blocks.Text: 0, blocks.Picture: 1}  # of a chapter; then the rest

PERCENT = {'%': 'Percent', 'x 100': 'Correlations x 100'}
EVERYTHING = 'All numbers'

# What files of another version, or cut off, may raise.
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)


def write(folder: str | Path, workdir: str | Path) -> Path:
  """Writes `report.html`, `report.md` and a picture; returns the page.

  Reads `results.jsonl` and the details in `folder`, and `config.json` and
  `environment.json` of the workdir where they exist. What is missing is not
  shown; what cannot be read is named.
  """
  folder = Path(folder)
  evaluation = results.read_evaluation(folder, workdir)
  pictures.accuracy_vs_dimension(folder / first.PICTURE, evaluation.rows)
  sections = _sections(evaluation)
  sub = _sub(evaluation)
  path = folder / 'report.html'
  path.write_text(
    markup.page(first.QUESTION, sub, sections, evaluation.name),
    encoding='utf-8',
  )
  (folder / 'report.md').write_text(
    markdown.page(first.QUESTION, sub, _brief(sections)), encoding='utf-8'
  )
  return path


def _sub(evaluation: results.Evaluation) -> str:
  """The run, its step, how much of what data, and what numbers are."""
  step = evaluation.step
  name = f', step {step:,}' if isinstance(step, int) else ''
  data = ''.join(_draw(first.extent, evaluation, []))
  unit = PERCENT[curves.units(curves.main(evaluation.rows))]
  brackets = f'{unit}; in brackets the 95% interval.'
  sentences = [evaluation.name + name, data, brackets]
  return '. '.join(filter(None, sentences))


def save(
  stem: Path, title: str, sub: str, sections: list[blocks.Section]
) -> Path:
  """Writes sections as `<stem>.html` and `<stem>.md`; returns the page."""
  path = Path(f'{stem}.html')
  path.write_text(markup.page(title, sub, sections), encoding='utf-8')
  Path(f'{stem}.md').write_text(
    markdown.page(title, sub, sections), encoding='utf-8'
  )
  return path


def _sections(evaluation: results.Evaluation) -> list[blocks.Section]:
  """The first screen, the chapters that have something, all numbers."""
  notes = list(evaluation.notes)
  screen = [it for part in SCREEN for it in _draw(part, evaluation, notes)]
  sections = [blocks.Section(first.QUESTION, screen)]
  for chapter in CHAPTERS:
    answer = [it for it in _draw(chapter.answer, evaluation, notes) if it]
    drawn = [
      it for part in chapter.parts for it in _draw(part, evaluation, notes)
    ]
    drawn.sort(key=lambda block: ORDER.get(type(block), len(ORDER)))
    if drawn or answer:
      contents = [blocks.Text(it, strong=True) for it in answer] + drawn
      sections.append(blocks.Section(chapter.question, contents, chapter.link))
  sections.append(blocks.Section(EVERYTHING, tables.full(evaluation)))
  context = [blocks.Text(note) for note in notes] + _context(evaluation)
  if context:
    sections.append(
      blocks.Section('How was this measured?', context, 'Settings')
    )
  return sections


def _brief(sections: list[blocks.Section]) -> list[blocks.Section]:
  """Without what is folded or long in the page, and where that stands."""
  screen, *chapters = sections
  kept = [
    dataclasses.replace(it, blocks=[b for b in it.blocks if _is_short(b)])
    for it in chapters
    if it.title != EVERYTHING
  ]
  where = blocks.Text(
    'Every number stands in results.jsonl, the curves in curves.csv, the long '
    'tables and all charts in report.html.'
  )
  chapters = [it for it in kept if it.blocks]
  return [screen, *chapters, blocks.Section('More', [where])]


def _is_short(block) -> bool:
  """Whether a block stands in Markdown too."""
  if isinstance(block, blocks.Table):
    return not block.fold and len(block.lines) <= tables.LONG
  return not isinstance(block, blocks.Code)


def _context(evaluation: results.Evaluation) -> list[blocks.Code]:
  """The configs and environments that are known."""
  options = dict(evaluation.details.get('evaluation', {}))
  options.pop('notes', None)
  contents = {
    'config.json, of the training': evaluation.config,
    'environment.json, of the training': evaluation.environment,
    'evaluation.json: options and environment of the results above': options,
  }
  return [
    blocks.Code(title, json.dumps(content, indent=2))
    for title, content in contents.items()
    if content
  ]


def _draw(part, evaluation: results.Evaluation, notes: list[str]) -> list:
  """What a part gives, all or nothing; a note if its material is malformed."""
  try:
    blocks_or_words = part(evaluation)
    if isinstance(blocks_or_words, str):
      return [blocks_or_words]
    return list(blocks_or_words)
  except MALFORMED as error:
    subject = part.__name__.replace('_', ' ')
    kind = type(error).__name__
    notes.append(f'{subject} was left out: {kind} {error} in its material')
    return []
