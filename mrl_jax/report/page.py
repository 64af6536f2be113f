"""One evaluation as `report.html`, self-contained, and as `report.md`."""

import json
from pathlib import Path

from mrl_jax.report import (
  accuracy,
  agreement,
  baselines,
  blocks,
  calibration,
  cascade,
  classes,
  cosine,
  examples,
  few_shot,
  headline,
  markdown,
  markup,
  pictures,
  precision,
  results,
  retrieval,
  robustness,
  search,
  tables,
)

# Section -> its parts, in the order of the page. A part is a function of the
# evaluation that yields blocks; it yields none where its material is missing.
SECTIONS = {
  'Accuracy against dimension': (
    accuracy.against_dimension,
    baselines.baselines,
    few_shot.few_shot,
  ),
  'A dimension per example': (cascade.cascade, agreement.first_right),
  'Retrieval and search': (
    retrieval.retrieval,
    search.mflops,
    search.milliseconds,
    search.methods,
  ),
  'Bytes a vector': (precision.pareto,),
  'Reliability': (
    calibration.expected_error,
    calibration.diagram,
    classes.groups,
    classes.trends,
    robustness.corruptions,
    cosine.cosines,
    cosine.spans,
  ),
  'Examples': (examples.neighbours,),
}

ORDER = {blocks.Text: 0, blocks.Picture: 1}  # of a section; then the rest

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
  pictures.accuracy_vs_dimension(
    folder / 'accuracy_vs_dimension.png', evaluation.rows
  )
  sections = _sections(evaluation)
  step = evaluation.step
  sub = f'Step {step:,}. ' if isinstance(step, int) else ''
  sub += 'Percent, with 95% intervals.'
  return save(folder / 'report', evaluation.name, sub, sections)


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
  """The headline, the sections that have something, all numbers."""
  notes = list(evaluation.notes)
  sections = [blocks.Section('Recommendation', _answer(evaluation))]
  for title, parts in SECTIONS.items():
    drawn = [it for part in parts for it in _draw(part, evaluation, notes)]
    drawn.sort(key=lambda block: ORDER.get(type(block), len(ORDER)))
    if drawn:
      sections.append(blocks.Section(title, drawn))
  sections.append(blocks.Section('All numbers', tables.full(evaluation)))
  context = _context(evaluation) + [blocks.Text(note) for note in notes]
  if context:
    sections.append(blocks.Section('Config and environment', context))
  return sections


def _answer(evaluation: results.Evaluation) -> list[blocks.Text]:
  """The recommendation, strong, and the sentences that stand beside it."""
  return [
    blocks.Text(words, strong=not index)
    for index, words in enumerate(headline.words(evaluation))
  ] + list(blocks.sentences(evaluation, 'evaluation', 'notes'))


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
  """What a part draws, all or nothing; a note if its material is malformed."""
  try:
    return list(part(evaluation))
  except MALFORMED as error:
    subject = part.__name__.replace('_', ' ')
    kind = type(error).__name__
    notes.append(f'{subject} was left out: {kind} {error} in its material')
    return []
