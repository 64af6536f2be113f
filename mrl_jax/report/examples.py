"""examples: neighbours as pictures, and where the embedding looks."""

from mrl_jax.report import blocks


def neighbours(evaluation):
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
