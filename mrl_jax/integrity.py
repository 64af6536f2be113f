"""The steps of a checkpoint folder, and which of them are whole.

A restore does not notice a changed byte. So every step has a manifest, the
SHA-256 of each of its files, which is written when the step is committed.
"""

import hashlib
import json
from pathlib import Path

MANIFEST = 'manifest.json'


def steps(directory: Path) -> list[int]:
  """The steps saved in a directory, increasing, without unfinished ones."""
  if not directory.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in directory.iterdir()
    if path.name.isdigit() and (path / '_CHECKPOINT_METADATA').exists()
  )


def newest_whole(directory: Path) -> int:
  """The newest whole step; -1 if there is no step, -2 if all are damaged."""
  found = steps(directory)
  for step in reversed(found):
    fault = damage(directory / str(step))
    if not fault:
      return step
    print(f'checkpoint {step} is skipped: {fault}', flush=True)
  return -2 if found else -1


def files(folder: Path) -> list[Path]:
  """The files of a folder that a manifest lists, sorted."""
  return sorted(
    path
    for path in folder.rglob('*')
    if path.is_file() and path.name != MANIFEST
  )


def _sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def seal(folder: Path) -> None:
  """Writes the manifest of a committed step; it appears whole or not at all."""
  if not folder.exists():  # already replaced by newer ones
    return
  hashes = {str(p.relative_to(folder)): _sha256(p) for p in files(folder)}
  partial = folder / f'.{MANIFEST}'
  partial.write_text(json.dumps(hashes, indent=1), encoding='utf-8')
  partial.rename(folder / MANIFEST)


def damage(folder: Path) -> str:
  """What is wrong with a step; '' if its files are those that were written.

  A run that is killed after a commit and before the manifest leaves a step
  without a manifest. It counts as whole, because Orbax commits all or nothing.
  """
  manifest = folder / MANIFEST
  if not manifest.exists():
    return ''
  try:
    hashes = json.loads(manifest.read_text(encoding='utf-8'))
  except ValueError:
    return f'{MANIFEST} cannot be read'
  for relative, expected in hashes.items():
    path = folder / relative
    if not path.exists():
      return f'{relative} is missing'
    if _sha256(path) != expected:
      return f'{relative} has changed since it was saved'
  return ''
