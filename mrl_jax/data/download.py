"""Files from elsewhere: downloaded with a time limit and a checksum."""

import hashlib
import shutil
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 15


def sha256(path: Path) -> str:
  """The SHA-256 of a file's bytes, in hex."""
  with path.open('rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def fetch(url: str, checksum: str, folder: Path, advice: str) -> Path:
  """The file behind `url` in `folder`, downloaded unless it is there.

  Raises:
    ValueError: if the download fails, with `advice` at the end of the message,
      or if the SHA-256 of the bytes is not `checksum`.
  """
  path = folder / url.rsplit('/', 1)[1]
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(path.suffix + '.part')
    print(f'downloading {url}', flush=True)
    try:
      with (
        urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,
        partial.open('wb') as file,
      ):
        shutil.copyfileobj(response, file)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
      partial.unlink(missing_ok=True)
      raise ValueError(f'cannot download {url}: {error}; {advice}') from error
    verify(partial, sha256(partial), checksum)
    partial.rename(path)
  verify(path, sha256(path), checksum)
  return path


def verify(path: Path, found: str, checksum: str) -> None:
  """Raises ValueError unless the checksum of a file is as it should be."""
  if found != checksum:
    raise ValueError(
      f'{path} is damaged: its SHA-256 is {found[:12]}..., not '
      f'{checksum[:12]}...; delete it and try again'
    )
