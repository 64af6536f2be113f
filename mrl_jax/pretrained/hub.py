"""Models by name: hf:OWNER/NAME[@REVISION], from the local cache or the net."""

import contextlib
import functools
import re
from pathlib import Path

from mrl_jax import progress
from mrl_jax.errors import UsageError
from mrl_jax.pretrained import folders

PREFIX = 'hf:'
TIMEOUT_SECONDS = 10
# Of a whole repository, which may hold the same weights in six formats.
PATTERNS = (
  'config.json',
  'model*.safetensors',
  'model.safetensors.index.json',
  'modules.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
  '[0-9]_*/config.json',
  '0_*/*.json',
  '0_*/model*.safetensors',
)


def is_name(where: str) -> bool:
  """Whether this is a name of the hub."""
  return where.startswith(PREFIX)


def fetched(where: str) -> Path:
  """The folder of a model, downloaded if the local cache does not have it.

  Raises:
    UsageError: in one line, for a name that is none, without huggingface_hub,
      without network, for a model that is not there or is private.
  """
  match = re.fullmatch(r'hf:([\w.-]+/[\w.-]+)(@[\w./-]+)?', where)
  if not match:
    raise UsageError(f'{where} must be hf:OWNER/NAME or hf:OWNER/NAME@REVISION')
  name, revision = match[1], (match[2] or '@main')[1:]
  try:
    import huggingface_hub
  except ImportError as error:
    raise UsageError(
      f'{where} needs huggingface_hub: pip install "mrl_jax[hub]", or name '
      'a folder'
    ) from error
  download = functools.partial(
    huggingface_hub.snapshot_download,
    name,
    revision=revision,
    allow_patterns=list(PATTERNS),
    etag_timeout=TIMEOUT_SECONDS,
  )
  with contextlib.suppress(OSError, ValueError):  # it is not in the cache
    local = Path(download(local_files_only=True))
    if folders.is_whole(local):
      return local
  progress.say(f'{where}: downloading into the cache of huggingface_hub')
  try:
    # The download asks first without a limit of time.
    api = huggingface_hub.HfApi()
    api.repo_info(name, revision=revision, timeout=TIMEOUT_SECONDS)
    return Path(download())
  except Exception as error:
    raise UsageError(f'{where}: {_reason(error)}') from error


def _reason(error: Exception) -> str:
  """What went wrong and what helps, for any error of the library."""
  kind = type(error).__name__
  if kind == 'GatedRepoError':
    return 'is gated; accept its terms on its page, then `hf auth login`'
  status = getattr(getattr(error, 'response', None), 'status_code', None)
  if kind == 'RepositoryNotFoundError' or status == 401:
    return 'there is no such model, or it is private (then `hf auth login`)'
  if kind == 'RevisionNotFoundError':
    return 'the model has no such revision; leave it out for the newest'
  if kind == 'OfflineModeIsEnabled':
    return 'is not in the local cache, and HF_HUB_OFFLINE is set'
  first = next(iter(str(error).strip().splitlines()), '')
  return (
    f'cannot be downloaded ({kind}: {first[:200]}); check the network, or '
    'download it elsewhere and name its folder'
  )
