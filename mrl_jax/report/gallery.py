"""Examples as pictures: neighbours, and where the embedding looks."""

from mrl_jax.report import blocks

TITLE = 'Examples'


def neighbours(seen):
  """Each image, then its nearest ones at few dims and at all, and saliency."""
  found = seen.details.get('examples', {}).get('examples') or []
  if found:
    yield blocks.Text(
      'Each image with its nearest training images at the smallest dimension '
      'and at the full width: solid green frames are of its class, dashed '
      'ones are not. Below, what speaks for its own class at each dimension.'
    )
  for example in found:
    image = blocks.Image(example['image'], str(example['name']))
    rows = [
      (f'nearest at {dim} dimensions', [image, *map(thumb, nearest)])
      for dim, nearest in example['neighbours'].items()
    ]
    looks = example.get('saliency') or {}
    if looks:
      overlays = [
        blocks.Image(png, f'{dim} dims') for dim, png in looks.items()
      ]
      rows.append(('what speaks for its class', overlays))
    yield blocks.Card(str(example['name']), rows)


def thumb(entry) -> blocks.Image:
  return blocks.Image(entry['image'], str(entry['name']), bool(entry['right']))


PARTS = (neighbours,)
