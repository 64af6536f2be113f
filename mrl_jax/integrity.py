"""Which steps of a checkpoint folder are there, and which of them are whole.

A flipped byte restores silently, so every step has a manifest: the SHA-256 of
each of its files, written once the step is committed.
"""

import hashlib
import json
from pathlib import Path

MANIFEST = 'manifest.json'


def steps(directory: Path) -> list[int]:
  """The steps saved in a directory, increasing; unfinished ones left out."""
  if not directory.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in directory.iterdir()
    if path.name.isdigit() and (path / '_CHECKPOINT_METADATA').exists()
  )


def newest_whole(directory: Path) -> int:
  """The newest verified step, -1 if there are none, -2 if all are damaged."""
  found = steps(directory)
  for step in reversed(found):
    fault = damage(directory / str(step))
    if not fault:
      return step
    print(f'checkpoint {step} is skipped: {fault}', flush=True)
  return -2 if found else -1


def files(folder: Path) -> list[Path]:
  return sorted(
    path
    for path in folder.rglob('*')
    if path.is_file() and path.name != MANIFEST
  )


def sha256(path: Path) -> str:
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def seal(folder: Path) -> None:
  """Writes the manifest of a committed step, in one rename."""
  if not folder.exists():  # already replaced by newer ones
    return
  hashes = {str(p.relative_to(folder)): sha256(p) for p in files(folder)}
  partial = folder / f'.{MANIFEST}'
  partial.write_text(json.dumps(hashes, indent=1))
  partial.rename(folder / MANIFEST)


def damage(folder: Path) -> str:
  """What is wrong with a step, '' if every file is what was written.

  A step killed between its commit and its seal has no manifest; Orbax's
  commit is atomic, so it is whole as far as can be known.
  """
  manifest = folder / MANIFEST
  if not manifest.exists():
    return ''
  try:
    hashes = json.loads(manifest.read_text())
  except ValueError:
    return f'{MANIFEST} cannot be read'
  for relative, expected in hashes.items():
    path = folder / relative
    if not path.exists():
      return f'{relative} is missing'
    if sha256(path) != expected:
      return f'{relative} has changed since it was saved'
  return ''
