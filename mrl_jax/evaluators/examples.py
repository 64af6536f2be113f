"""`examples`: neighbours of a few images, and where the model looks."""

import base64
import dataclasses
import io
import json

import jax
import numpy as np
from PIL import Image

from mrl_jax.embed import exact
from mrl_jax.embed.evidence import Evidence
from mrl_jax.embed.vectors import class_name
from mrl_jax.shapes import Bool, Float, Int

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

  needs = ('images', 'labels')
  metrics = ()

  def __init__(self, images: int = 6, neighbours: int = 5):
    for name, value, most in (
      ('images', images, 50),
      ('neighbours', neighbours, 20),
    ):
      if not 1 <= value <= most:
        raise ValueError(f'{name}={value} must be from 1 to {most}')
    self.images, self.neighbours = images, neighbours

  def run(self, evidence) -> tuple[list, dict]:
    """([], details): PNG pictures in base64, always below 300 KB."""
    dims = tuple(sorted({evidence.trained[0], evidence.dims[-1]}))
    random = np.random.default_rng(SEED)
    candidates = random.permutation(len(evidence.queries))[:CANDIDATES]
    nearest = _neighbours(evidence, candidates, dims, self.neighbours)
    labels = evidence.database.labels
    differ = labels[nearest[0, :, 0]] != labels[nearest[-1, :, 0]]
    chosen = telling(differ, self.images)
    page = _page(evidence, candidates[chosen], nearest[:, chosen], dims)
    return [], {
      'dims': list(dims),
      'trained': list(evidence.trained),
      'candidates': len(candidates),
      'differing': int(differ.sum()),
      'examples': _fitting(page, len(chosen)),
    }


@dataclasses.dataclass(frozen=True)
class _Page:
  """Queries, their neighbours and maps: what pictures are made of."""

  evidence: Evidence
  dims: tuple[int, ...]
  rows: Int[np.ndarray, 'q']
  nearest: Int[np.ndarray, 'g q k']
  images: Int[np.ndarray, 'q h w c']
  near_images: Int[np.ndarray, 'g q k h w c']
  maps: Float[np.ndarray, 't q h w']

  def example(self, i: int, side: int) -> dict:
    """The i-th query with its neighbours and maps, in pictures of a side."""
    label = self.evidence.queries.labels[self.rows[i]]
    near_labels = self.evidence.database.labels[self.nearest[:, i]]
    near = zip(self.nearest[:, i], near_labels, self.near_images[:, i])
    return {
      **self._named(self.rows[i], label, self.images[i], side),
      'agrees': bool(near_labels[0, 0] == near_labels[-1, 0]),
      'neighbours': {
        str(m): [
          self._named(*neighbour, side) | {'right': bool(neighbour[1] == label)}
          for neighbour in zip(*prefix)
        ]
        for m, prefix in zip(self.dims, near)
      },
      'saliency': {
        str(m): overlay(self.images[i], values[i], side)
        for m, values in zip(self.evidence.trained, self.maps)
      },
    }

  def _named(self, row, label, image, side: int) -> dict:
    return {
      'row': int(row),
      'label': int(label),
      'name': class_name(int(label), self.evidence.names),
      'image': _thumbnail(image, side),
    }


def _page(evidence: Evidence, rows, nearest, dims) -> _Page:
  images = evidence.functions['images']
  asked, near = images('validation', rows), images('train', nearest.ravel())
  near = near.reshape(*nearest.shape, *near.shape[1:])
  maps = np.zeros((0, len(rows), 1, 1))
  if evidence.has('saliency'):
    saliency, labels = evidence.functions['saliency'], evidence.queries.labels
    maps = jax.device_get(saliency(asked, labels[rows], evidence.trained))
  maps = np.clip(np.asarray(maps, np.float32), 0, 1)
  return _Page(evidence, dims, rows, nearest, asked, near, maps)


def _neighbours(evidence, rows, dims, count: int) -> Int[np.ndarray, 'g q k']:
  """Database rows nearest to some queries, best first."""
  database = evidence.database.embeddings
  return exact.nested_top_k(
    np.asarray(evidence.queries.embeddings[rows]),
    database,
    dims,
    min(count, len(database)),
    evidence.mesh,
  )[1]


def telling(differ: Bool[np.ndarray, 'q'], count: int) -> Int[np.ndarray, 'n']:
  """Positions of `count` examples, two of three where `differ`, else filled.

  In order of position within each kind, the differing first.
  """
  yes, no = np.flatnonzero(differ), np.flatnonzero(~differ)
  first = min(len(yes), max(-(-2 * count // 3), count - len(no)))
  return np.concatenate([yes[:first], no[: count - first]])


def _fitting(page: _Page, count: int) -> list[dict]:
  """Examples at the largest of SIDES that fits all, or some at the last."""
  for side in SIDES:
    examples, size = [], 2000
    for i in range(count):
      examples.append(page.example(i, side))
      size += len(json.dumps(examples[-1])) + 2
      if size > LIMIT:
        break
    else:
      return examples
  return examples[:-1]


def _thumbnail(image: Int[np.ndarray, 'h w c'], side: int) -> str:
  """A PNG in base64, no side above `side`: grey, or of 64 colours."""
  if image.shape[-1] == 1:
    return _png(_shrunk(Image.fromarray(image[..., 0]), side))
  picture = _shrunk(Image.fromarray(image[..., :3]), side)
  return _png(picture.quantize(COLOURS))


def overlay(
  image: Int[np.ndarray, 'h w c'], values: Float[np.ndarray, 'h w'], side: int
) -> str:
  """The grey image under its map: where that is high red, then yellow."""
  grey = image.mean(axis=-1, keepdims=True)
  heat = values[..., None] * 3 - np.arange(3)
  heat = 255 * np.clip(heat, 0, 1)
  cover = 0.65 * values[..., None]
  mixed = np.round(grey * (1 - cover) + heat * cover).astype(np.uint8)
  return _png(_shrunk(Image.fromarray(mixed), side).quantize(COLOURS))


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
  picture.thumbnail((side, side), Image.Resampling.LANCZOS)
  return picture


def _png(picture: Image.Image) -> str:
  data = io.BytesIO()
  picture.save(data, 'PNG', optimize=True)
  return base64.b64encode(data.getvalue()).decode()
