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
      'ones are not. Below, where the answer at each dimension looks.'
    )
  for example in found:
    image = blocks.Image(example['image'], str(example['name']))
    for dim, nearest in example['neighbours'].items():
      yield blocks.Strip(
        f'{example["name"]}, nearest at {dim} dimensions',
        [image, *(thumb(entry) for entry in nearest)],
      )
    looks = example.get('saliency') or {}
    if looks:
      yield blocks.Strip(
        f'{example["name"]}, where it looks',
        [blocks.Image(png, f'{dim} dims') for dim, png in looks.items()],
      )


def thumb(entry) -> blocks.Image:
  return blocks.Image(entry['image'], str(entry['name']), bool(entry['right']))


PARTS = (neighbours,)
