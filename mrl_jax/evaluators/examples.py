"""`examples`: neighbours of a few images, and where the model looks."""

import base64
import io
import json

import jax
import numpy as np
from PIL import Image

from mrl_jax.embed import search
from mrl_jax.shapes import Float, Int

SEED = 0
CANDIDATES = 512  # queries searched to find telling ones
SIDES = (64, 48, 32, 24, 16)  # of thumbnails, the largest that fits
LIMIT = 290_000  # bytes of the details
COLOURS = 64  # of the palette of a thumbnail that is not grey


class Examples:
  """Pictures only, no rows: a page of a few validation images.

  Of each the nearest training images at the smallest trained dim beside full
  width, and what speaks for its true class at every trained dim. Two of three
  are images whose nearest neighbours' classes at the two dims differ, as far
  as there are any.

  Args:
    images: how many validation images.
    neighbours: of each.
  """

  needs = ('labels', 'images')
  metrics = ()

  def __init__(self, images: int = 6, neighbours: int = 5):
    for name, value, most in (
      ('images', images, 50),
      ('neighbours', neighbours, 20),
    ):
      if not 1 <= value <= most:
        raise ValueError(f'{name}={value} must be from 1 to {most}')
    self.images, self.neighbours = images, neighbours

  def run(self, evidence) -> tuple[list[dict], dict]:
    """([], details): PNG pictures in base64, always below 300 KB."""
    dims = tuple(sorted({evidence.trained[0], evidence.dims[-1]}))
    queries, database = evidence.queries, evidence.database
    rng = np.random.default_rng(SEED)
    candidates = rng.permutation(len(queries))[:CANDIDATES]
    found = nearest(evidence, candidates, dims, self.neighbours)
    differ = database.labels[found[0, :, 0]] != database.labels[found[-1, :, 0]]
    chosen = telling(differ, self.images)
    rows, found = candidates[chosen], found[:, chosen]
    pictures = {
      'query': evidence.images('validation', rows),
      'found': evidence.images('train', found.ravel()),
      'maps': maps(evidence, rows),
    }

    def example(i: int, side: int) -> dict:
      label = int(queries.labels[rows[i]])
      shown = pictures['found'].reshape(
        *found.shape, *pictures['found'].shape[1:]
      )
      beside = {
        str(m): [
          {
            'row': int(row),
            **named(int(database.labels[row]), evidence.names),
            'right': bool(database.labels[row] == label),
            'image': thumbnail(shown[g, i, j], side),
          }
          for j, row in enumerate(found[g, i])
        ]
        for g, m in enumerate(dims)
      }
      looks = {
        str(m): overlay(pictures['query'][i], values[i], side)
        for m, values in zip(evidence.trained, pictures['maps'])
      }
      return {
        'row': int(rows[i]),
        **named(label, evidence.names),
        'agrees': not differ[chosen[i]],
        'image': thumbnail(pictures['query'][i], side),
        'neighbours': beside,
        'saliency': looks,
      }

    return [], {
      'dims': list(dims),
      'trained': list(evidence.trained),
      'candidates': len(candidates),
      'differing': int(differ.sum()),
      'examples': fitting(example, len(rows)),
    }


def nearest(evidence, rows, dims, count: int) -> Int[np.ndarray, 'g q k']:
  """Database rows nearest to some queries, best first."""
  database = evidence.database.embeddings
  _, found = search.nested_top_k(
    np.asarray(evidence.queries.embeddings[rows]),
    database,
    dims,
    min(count, len(database)),
    evidence.mesh,
  )
  return np.asarray(jax.device_get(found))


def telling(differ: np.ndarray, count: int) -> np.ndarray:
  """Positions of `count` examples, two of three where `differ`, else filled.

  In order of position within each kind, the differing first.
  """
  yes, no = np.flatnonzero(differ), np.flatnonzero(~differ)
  first = min(len(yes), max(-(-2 * count // 3), count - len(no)))
  return np.concatenate([yes[:first], no[: count - first]])


def maps(evidence, rows) -> Float[np.ndarray, 'g q h w']:
  """Saliency for the true classes at the trained dims; [] without it."""
  if evidence.saliency is None:
    return np.zeros((0, len(rows), 1, 1))
  images = evidence.images('validation', rows)
  classes = np.asarray(evidence.queries.labels[rows])
  found = evidence.saliency(images, classes, evidence.trained)
  return np.clip(np.asarray(jax.device_get(found), np.float32), 0, 1)


def named(label: int, names) -> dict:
  known = 0 <= label < len(names)
  return {'label': label, 'name': names[label] if known else str(label)}


def fitting(example, count: int) -> list[dict]:
  """Examples at the largest of SIDES that fits all, or some at the last."""
  for side in SIDES:
    made, size = [], 2000
    for i in range(count):
      made.append(example(i, side))
      size += len(json.dumps(made[-1])) + 2
      if size > LIMIT:
        break
    else:
      return made
  return made[:-1]


def thumbnail(image: Int[np.ndarray, 'h w c'], side: int) -> str:
  """A PNG in base64, no side above `side`: grey, or of 64 colours."""
  if image.shape[-1] == 1:
    return png(shrunk(Image.fromarray(image[..., 0]), side))
  return png(shrunk(Image.fromarray(image[..., :3]), side).quantize(COLOURS))


def overlay(
  image: Int[np.ndarray, 'h w c'], values: Float[np.ndarray, 'h w'], side: int
) -> str:
  """The grey image under its map: where that is high red, then yellow."""
  grey = image.mean(axis=-1, keepdims=True)
  heat = values[..., None] * 3 - np.arange(3)
  heat = 255 * np.clip(heat, 0, 1)
  cover = 0.65 * values[..., None]
  mixed = np.round(grey * (1 - cover) + heat * cover).astype(np.uint8)
  return png(shrunk(Image.fromarray(mixed), side).quantize(COLOURS))


def shrunk(picture: Image.Image, side: int) -> Image.Image:
  picture.thumbnail((side, side), Image.Resampling.LANCZOS)
  return picture


def png(picture: Image.Image) -> str:
  data = io.BytesIO()
  picture.save(data, 'PNG', optimize=True)
  return base64.b64encode(data.getvalue()).decode()
