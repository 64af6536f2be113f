"""Vectors of texts in a file: written slab by slab, and never made twice.

`x.npy` holds the rows, `x.json` beside it says of which model and texts they
are and how many are done. So an encoding that was stopped goes on.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mrl_jax import progress
from mrl_jax.errors import UsageError
from mrl_jax.shapes import Float

SLAB = 4096  # texts between two notes of what is done
PATIENCE_SECONDS = 10  # between two lines on how far it is


@dataclasses.dataclass(frozen=True)
class KeptVectors:
  """Where the vectors of texts are kept.

  Attributes:
    path: of the file, `.npy`.
    about: fingerprint of the model and the texts.
    shape: rows and width.
  """

  path: Path
  about: str
  shape: tuple[int, int]

  @property
  def _note(self) -> Path:
    return self.path.with_suffix('.json')

  def done(self) -> int:
    """How many rows are there already.

    Raises:
      UsageError: if they are of another model or other texts.
    """
    try:
      known = json.loads(self._note.read_text(encoding='utf-8'))
      about, rows = known['about'], int(known['done'])
      stored = np.load(self.path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
      return 0  # none, or cut off
    if about != self.about:
      raise UsageError(
        f'{self.path} holds vectors of another model or of other texts; name '
        'another folder by --output=..., or clear it: --fresh'
      )
    whole = stored.shape == self.shape and stored.dtype == np.float32
    return rows if whole else 0

  def clear(self) -> None:
    """Removes what is there."""
    for path in (self._note, self.path):
      path.unlink(missing_ok=True)

  def fill(
    self, texts: Sequence[str], embed: Callable, names: Sequence[str]
  ) -> Float[np.ndarray, 'n d']:
    """The vectors, mapped from the file, once all are made.

    Args:
      embed: f(texts, out) writes a row of `out` per text.
      names: of the texts, for error messages.

    Raises:
      UsageError: as `done`, for an embedding that is not finite, and if the
        file cannot be written.
    """
    first, total = self.done(), len(texts)
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      self._check_room(first)
      if not first:  # an old note would call rows done that are not yet
        self._note.unlink(missing_ok=True)
      rows = np.lib.format.open_memmap(
        self.path,
        mode='r+' if first else 'w+',
        dtype=None if first else np.float32,
        shape=None if first else self.shape,
      )
      started = told = time.perf_counter()
      for start in range(first, total, SLAB):
        slab = slice(start, min(start + SLAB, total))
        embed(texts[slab], rows[slab])
        wrong = np.flatnonzero(~np.isfinite(rows[slab]).all(axis=1))
        if len(wrong):
          name = str(names[start + wrong[0]])
          raise UsageError(f'the model embeds {name!r} as NaN or infinity')
        rows.flush()
        self._write(slab.stop)
        now = time.perf_counter()
        if now - told > PATIENCE_SECONDS and slab.stop < total:
          left = (now - started) / (slab.stop - first) * (total - slab.stop)
          progress.say(
            f'{self.path.stem}: {slab.stop:,} of {total:,} texts encoded, '
            f'{progress.duration(left)} left'
          )
          told = now
    except OSError as error:
      raise UsageError(f'{self.path} cannot be written: {error}') from error
    return np.load(self.path, mmap_mode='r', allow_pickle=False)

  def _check_room(self, done: int) -> None:
    """Raises UsageError if the rows do not fit: a full disk kills a process."""
    rows, width = self.shape
    needed = 0 if done else 4 * rows * width
    free = shutil.disk_usage(self.path.parent).free
    if needed > free:
      raise UsageError(
        f'{self.path} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are '
        'free; name a folder on another disk by --output=...'
      )

  def _write(self, done: int) -> None:
    partial = self._note.with_suffix('.partial')
    partial.write_text(
      json.dumps({'about': self.about, 'done': done}), encoding='utf-8'
    )
    partial.replace(self._note)
