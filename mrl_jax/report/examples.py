"""lost, examples: queries as a list and as pictures with their neighbours."""

from mrl_jax.report import blocks

SHOWN = 20  # lines
LETTERS = 60  # of a name
TEXT = 120  # letters of a text


def neighbours(evaluation):
  """Queries that few dimensions lose, then images with their neighbours."""
  yield from _lost(evaluation)
  yield from _images(evaluation)


def _lost(evaluation):
  """How many queries few dimensions lose, and those that need most."""
  count = evaluation.detail('lost', 'queries', 0)
  if not count:
    return
  smallest, width = (evaluation.detail('lost', 'dims')[i] for i in (0, -1))
  gone = evaluation.detail('lost', 'lost', 0)
  found = evaluation.detail('lost', 'gained', 0)
  listed = evaluation.detail('lost', 'shown')[:SHOWN]
  judged = evaluation.detail('lost', 'measure', '')
  words = (
    f'Of {count:,} queries, {gone:,} find a row of their class with all '
    f'{width} dimensions and not with {smallest}; {found:,} only with '
    f'{smallest}.'
  )
  if judged:
    words = (
      f'Of {count:,} queries, {gone:,} rank worse with {smallest} of {width} '
      f'dimensions than with all, and {found:,} better, by '
      f'{_measure(judged)}.'
    )
  if len(listed) < gone:
    most = 'fall most' if judged else 'need most dimensions'
    words += f' These {len(listed)} {most}.'
  if listed and judged:
    yield from _fallen(listed, smallest, words, _measure(judged))
  elif not listed:
    yield blocks.Text(words)
  else:
    header = (
      'query',
      'class',
      'right from this dimension on',
      f'found with {smallest} dimensions',
      'its class',
    )
    yield blocks.Table(header, [_line(query) for query in listed], words)


def _measure(name: str) -> str:
  """`ndcg@10` for people."""
  return name.replace('ndcg', 'nDCG')


def _fallen(listed, smallest: float, words: str, measure: str):
  """Judged queries with the wrong row found first and the best of all."""
  header = (
    'query',
    f'{measure}, {smallest} dims',
    'all',
    f'wrong row, first with {smallest}',
    'best judged row',
    f'rank with {smallest}',
    'all',
  )
  lines = []
  for query in listed:
    best = query.get('best', {})
    ranks = (best.get(key) for key in ('few', 'full'))
    lines.append(
      [
        _told(query),
        *(blocks.percent(query[key], 1) for key in ('few', 'full')),
        _told(query.get('found')),
        _told(best),
        *('-' if rank is None else blocks.number(rank) for rank in ranks),
      ]
    )
  yield blocks.Table(
    header,
    lines,
    f'{words} In percent. Wrong are rows that are not judged relevant; of rows '
    'that tie, the rank is the middle one.',
  )


def _told(row) -> str:
  """The id of a row, and its text where there is one."""
  if not row:
    return '-'
  name, text = _short(str(row['id'])), str(row.get('text', ''))
  text = text if len(text) <= TEXT else text[: TEXT - 1] + '…'
  return f'{name}: {text}' if text else name


def _line(query) -> list[str]:
  names = query['id'], query['class'], query['right_from']
  near = query['found']['id'], query['found']['class']
  return [_short(str(name)) for name in (*names, *near)]


def _short(name: str) -> str:
  return name if len(name) <= LETTERS else name[: LETTERS - 1] + '…'


def _images(evaluation):
  """Each image, then its nearest ones at few dims and at all, and saliency."""
  examples = evaluation.detail('examples', 'examples')
  if examples:
    yield blocks.Text(
      'Each image with its nearest training images at the smallest dimension '
      'and at all: solid green frames are of its class, dashed '
      'ones are not. Below, what speaks for its own class at each dimension.'
    )
  for example in examples:
    name = str(example['name'])
    image = blocks.Image(example['image'], name)
    strips = [
      (f'nearest with {dim} dimensions', [image, *map(_neighbour, nearest)])
      for dim, nearest in example['neighbours'].items()
    ]
    overlays = [
      blocks.Image(png, f'{dim} dimensions')
      for dim, png in (example.get('saliency') or {}).items()
    ]
    if overlays:
      strips.append(('what speaks for its class', overlays))
    yield blocks.Card(name, strips)


def _neighbour(entry) -> blocks.Image:
  return blocks.Image(entry['image'], str(entry['name']), bool(entry['right']))
