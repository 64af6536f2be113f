"""`robustness`: the accuracy curve on spoiled images and on shifted sets."""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrl_jax import errors, rows
from mrl_jax.data import corruptions, folder
from mrl_jax.embed import vectors
from mrl_jax.shapes import Bool, Int

SEED = 0
ROWS_AT_ONCE = 1024
MAP = 'map.json'


class Robustness:
  """Top-1 per dimension on corrupted validation images (arXiv:1903.12261).

  Variants of `top1`: `clean`, the same images as they are; each corruption,
  the mean of its severities; `severity1` to `severity5`, the mean of the
  corruptions; `mean` of all. A mean is taken per image first, so its interval
  is one over images.

  Each shifted set is one more variant, named by its folder. It is answered
  among the classes that occur in it only: every folder stands for one or more
  training classes, and an image is right if the highest logit, among the
  classes of all the folders together, belongs to its own folder's.

  Args:
    corruptions: some of data.corruptions.CORRUPTIONS, () for all.
    severities: out of 1 to 5.
    images: how many of the validation images, drawn once; 0 for all.
    shifted: folders of class sub-folders of images. A file map.json in one
      says {sub-folder: training class, or a list of them}; sub-folders that
      it leaves out are left out. Without it they are named as the classes.
  """

  needs = ('labels', 'images')

  def __init__(
    self,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    images: int = 1000,
    shifted: Sequence[str] = (),
  ):
    self.corruptions = check_corruptions(tuple(corruptions))
    self.severities = check_severities(tuple(severities))
    if images < 0:
      raise ValueError(f'images={images} must be above 0, or 0 for all')
    if isinstance(shifted, str):
      raise ValueError(f"shifted={shifted!r} must be a list: ('{shifted}',)")
    self.images = images
    variants = ['clean', *self.corruptions]
    variants += [f'severity{severity}' for severity in self.severities]
    self.shifted = check_shifted(shifted, [*variants, 'mean'])
    variants += ['mean', *self.shifted]
    self.metrics = tuple(f'top1.{variant}' for variant in variants)

  def run(self, evidence) -> tuple[list[dict], dict]:
    queries, dims = evidence.queries, evidence.dims
    results = drawn(len(queries), self.images)
    clean = evidence.classify(
      vectors.Vectors(queries.embeddings[results], queries.labels[results])
    ).right
    right = self.answers(evidence, results)
    variants = {'clean': clean}
    for c, name in enumerate(self.corruptions):
      variants[name] = right[c].mean(axis=0)
    for s, severity in enumerate(self.severities):
      variants[f'severity{severity}'] = right[:, s].mean(axis=0)
    variants['mean'] = right.mean(axis=(0, 1))
    found = [
      rows.mean('robustness', 'top1', m, values[g], variant=variant)
      for variant, values in variants.items()
      for g, m in enumerate(dims)
    ]
    details = {
      'images': len(results),
      'dims': list(dims),
      'corruptions': list(self.corruptions),
      'severities': list(self.severities),
      'clean': clean.mean(axis=-1).tolist(),
      'grid': right.mean(axis=-1).tolist(),
      'shifted': {},
    }
    for name, path in self.shifted.items():
      more, details['shifted'][name] = shifted_rows(evidence, name, path)
      found += more
    return found, details

  def answers(self, evidence, rows: Int[np.ndarray, 'q']) -> np.ndarray:
    """Whether right, [corruptions severities g q], of the drawn images."""
    images = evidence.images('validation', rows)
    labels = evidence.queries.labels[rows]

    def right(name, severity):
      spoiled = corruptions.Corrupted(images, labels, rows, name, severity)
      return evidence.classify(evidence.embed(spoiled)).right

    return np.stack(
      [[right(c, s) for s in self.severities] for c in self.corruptions]
    )


def drawn(count: int, wanted: int) -> Int[np.ndarray, 'q']:
  """`wanted` of `count` rows, increasing, the same every time; 0 for all."""
  if not 0 < wanted < count:
    return np.arange(count)
  rng = np.random.default_rng(SEED)
  return np.sort(rng.choice(count, wanted, replace=False))


def shifted_rows(evidence, name: str, path: Path) -> tuple[list, dict]:
  """(one row per dim, details) of a shifted set, embedded and answered."""
  files = folder.class_files(path)
  groups, skipped = class_groups(path, files, evidence.names)
  pairs = [(p, i) for i, own in enumerate(groups) for p in files[own]]
  channels = evidence.images('validation', [0]).shape[-1]
  seen = evidence.embed(
    folder.Files([p for p, _ in pairs], [i for _, i in pairs], channels)
  )
  logits = evidence.logits or evidence.probe().logits
  parts = [
    restricted(
      np.asarray(logits(seen.embeddings[a : a + ROWS_AT_ONCE], evidence.dims)),
      seen.labels[a : a + ROWS_AT_ONCE],
      list(groups.values()),
    )
    for a in range(0, len(seen), ROWS_AT_ONCE)
  ]
  right = np.concatenate(parts, axis=1)
  results = [
    rows.proportion(
      'robustness', 'top1', m, int(right[g].sum()), len(seen), variant=name
    )
    for g, m in enumerate(evidence.dims)
  ]
  allowed = len(set().union(*groups.values()))
  facts = {'images': len(seen), 'classes': allowed, 'left_out': skipped}
  return results, {'path': str(path), **facts}


def restricted(
  logits: np.ndarray, labels: Int[np.ndarray, 'q'], groups: list
) -> Bool[np.ndarray, 'g q']:
  """Whether the best class, of those in any group, is in the label's group.

  Of equal logits the smaller class is the answer.
  """
  allowed = np.array(sorted(set().union(*groups)))
  best = allowed[np.argmax(logits[..., allowed], axis=-1)]
  member = np.zeros((len(groups), logits.shape[-1]), bool)
  for i, group in enumerate(groups):
    member[i, list(group)] = True
  return member[labels[None, :], best]


def class_groups(path: Path, files: dict, names) -> tuple[dict, list[str]]:
  """({sub-folder: class ids}, sub-folders left out) of a shifted set.

  Raises:
    ValueError: for a map that cannot be read, or an unknown class.
  """
  given = read_map(path / MAP) if (path / MAP).is_file() else None
  said = given if given is not None else {name: name for name in files}
  ids = {name: i for i, name in enumerate(names)}
  groups = {}
  for own in files:
    if own not in said:
      continue
    classes = [said[own]] if isinstance(said[own], str) else said[own]
    wrong = [name for name in classes if name not in ids]
    if wrong:
      near = difflib.get_close_matches(wrong[0], list(ids), 1)
      hint = f'; did you mean {near[0]!r}' if near else ''
      raise errors.UsageError(
        f'{path / own}: {wrong[0]!r} is no training class{hint}; map it to '
        f'one in {path / MAP}'
      )
    groups[own] = frozenset(ids[name] for name in classes)
  if not groups:
    raise errors.UsageError(
      f'{path / MAP} names none of the sub-folders of {path}'
    )
  return groups, [own for own in files if own not in groups]


def read_map(path: Path) -> dict:
  try:
    said = json.loads(path.read_text())
    good = isinstance(said, dict) and all(
      isinstance(v, str)
      or (isinstance(v, list) and v and all(isinstance(n, str) for n in v))
      for v in said.values()
    )
  except (UnicodeDecodeError, json.JSONDecodeError):
    good = False
  if not good:
    raise errors.UsageError(
      f'{path} must be one JSON object of "sub-folder": "class" or a list '
      'of classes'
    )
  return said


def check_corruptions(names: tuple[str, ...]) -> tuple[str, ...]:
  known = tuple(corruptions.CORRUPTIONS)
  wrong = [name for name in names if name not in known]
  if wrong:
    raise ValueError(
      f'corruptions: {wrong[0]!r} is not one of {", ".join(known)}'
    )
  if len(set(names)) < len(names):
    raise ValueError(f'corruptions={names} repeats one; name each once')
  return names or known


def check_severities(severities: tuple[int, ...]) -> tuple[int, ...]:
  allowed = corruptions.SEVERITIES
  if not severities or any(s not in allowed for s in severities):
    raise ValueError(f'severities={severities} must be some of {allowed}')
  if len(set(severities)) < len(severities):
    raise ValueError(f'severities={severities} repeats one; name each once')
  return severities


def check_shifted(paths: Sequence[str], taken: list[str]) -> dict[str, Path]:
  """Each folder under its last name, which becomes part of a row's name."""
  found = {}
  for path in (Path(path).expanduser() for path in paths):
    name = path.resolve().name.replace(' ', '_')
    if not path.is_dir():
      raise ValueError(f'shifted: {path} is not a folder')
    if name in found or name in taken:
      raise ValueError(
        f'shifted: {path} is the second result named {name!r}; rename it'
      )
    found[name] = path
  return found
