"""What a classifier answers to each query at each prefix."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mrl_jax.embed.probes import Probe
from mrl_jax.embed.vectors import Vectors
from mrl_jax.shapes import Bool, Float, Int

BEST = 5  # classes kept of every answer
ROWS_AT_ONCE = 1024  # classified together: [g rows v] logits are alive


@dataclasses.dataclass(frozen=True)
class Answers:
  """The best classes of each query at each of `dims`.

  Attributes:
    classes: the best few, best first.
    confidence: probability of the best one, the maximum of the softmax.
    labels: the true classes.
    by: who answered, for people: 'linear head' or 'linear probe'.
  """

  dims: tuple[int, ...]
  classes: Int[np.ndarray, 'g q k']
  confidence: Float[np.ndarray, 'g q']
  labels: Int[np.ndarray, 'q']
  by: str

  @property
  def right(self) -> Bool[np.ndarray, 'g q']:
    return self.classes[..., 0] == self.labels

  def at(self, dims: Sequence[int]) -> 'Answers':
    """The same answers at some of the dims only."""
    index = [self.dims.index(m) for m in dims]
    return dataclasses.replace(
      self,
      dims=tuple(dims),
      classes=self.classes[index],
      confidence=self.confidence[index],
    )


def of_head(logits: Callable, vectors: Vectors, dims: Sequence[int]) -> Answers:
  """The answers of a trained head, f(embeddings [b d], dims) -> [g b v]."""
  best, confidence = _decide(logits, vectors.embeddings, dims)
  return Answers(tuple(dims), best, confidence, vectors.labels, 'linear head')


def of_probe(probe: Probe, vectors: Vectors, dims: Sequence[int]) -> Answers:
  """The answers of a probe, whose columns are the classes it was fitted on."""
  best, confidence = _decide(probe.logits, vectors.embeddings, dims)
  classes = probe.classes[best]
  return Answers(
    tuple(dims), classes, confidence, vectors.labels, 'linear probe'
  )


def _decide(logits: Callable, embeddings, dims) -> tuple:
  """(best columns [g q k], confidence [g q]) of logits, in chunks of rows."""
  chunks = []
  for start in range(0, len(embeddings), ROWS_AT_ONCE):
    rows = np.asarray(embeddings[start : start + ROWS_AT_ONCE])
    full = np.pad(rows, ((0, ROWS_AT_ONCE - len(rows)), (0, 0)))
    chunk = jax.device_get(_best_and_confidence(logits(full, dims)))
    chunks.append([array[:, : len(rows)] for array in chunk])
  return tuple(np.concatenate(arrays, axis=1) for arrays in zip(*chunks))


@jax.jit
def _best_and_confidence(scores: Float[jax.Array, 'g b v']) -> tuple:
  """Best classes, of equal ones the smaller first, and the best's softmax."""
  scores = scores.astype(jnp.float32)
  best = jax.lax.top_k(scores, min(BEST, scores.shape[-1]))[1]
  confidence = jnp.max(jax.nn.softmax(scores, axis=-1), axis=-1)
  return best, confidence
