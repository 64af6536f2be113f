"""One evaluation as `report.html`, self-contained, and as `report.md`."""

import json
from pathlib import Path

from mrl_jax.report import (
  accuracy,
  adaptive,
  blocks,
  cost,
  finding,
  gallery,
  headline,
  markdown,
  markup,
  pictures,
  reliability,
  results,
  tables,
)

CHAPTERS = (accuracy, adaptive, finding, cost, reliability, gallery)

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
  seen = results.read_evaluation(folder, workdir)
  pictures.accuracy_vs_dimension(
    folder / 'accuracy_vs_dimension.png', seen.rows
  )
  parts = sections(seen)
  step = seen.step
  sub = f'Step {step:,}. ' if isinstance(step, int) else ''
  sub += 'Percent, with 95% intervals.'
  path = folder / 'report.html'
  path.write_text(markup.page(seen.name, sub, parts))
  (folder / 'report.md').write_text(markdown.page(seen.name, sub, parts))
  return path


def sections(seen: results.Evaluation) -> list[blocks.Section]:
  """The headline, a section per chapter that has something, all tables."""
  notes = list(seen.notes)
  parts = [blocks.Section('Recommendation', answer(seen))]
  for chapter in CHAPTERS:
    found = [b for part in chapter.PARTS for b in built(part, seen, notes)]
    found.sort(key=lambda block: ORDER.get(type(block), len(ORDER)))
    if found:
      parts.append(blocks.Section(chapter.TITLE, found))
  every = tables.full(seen)
  if any(not row.get('trained', True) for row in seen.rows):
    every.append(blocks.Text(tables.STAR))
  parts.append(blocks.Section('All numbers', every))
  around = [
    blocks.Code(title, json.dumps(content, indent=2))
    for title, content in (
      ('config.json, of the training', seen.config),
      ('environment.json, of the training', seen.environment),
      (
        'evaluation.json: options and environment of the results above',
        {
          key: value
          for key, value in seen.details.get('evaluation', {}).items()
          if key != 'notes'
        },
      ),
    )
    if content
  ]
  around += [blocks.Text(note) for note in notes]
  if around:
    parts.append(blocks.Section('Config and environment', around))
  return parts


def answer(seen: results.Evaluation) -> list[blocks.Text]:
  """The recommendation, strong, and the sentences that stand beside it."""
  return [
    blocks.Text(words, strong=not index)
    for index, words in enumerate(headline.words(seen))
  ] + list(blocks.sentences(seen, 'evaluation', 'notes'))


def built(part, seen: results.Evaluation, notes: list[str]) -> list:
  """What a part draws, all or nothing; a note if its material is malformed."""
  try:
    return list(part(seen))
  except MALFORMED as error:
    subject = part.__name__.replace('_', ' ')
    kind = type(error).__name__
    notes.append(f'{subject} was left out: {kind} {error} in its material')
    return []
