"""Folders of models, as the libraries of others write them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mrl_jax import nested, progress
from mrl_jax.errors import UsageError
from mrl_jax.pretrained import bert, modernbert, qwen3, static
from mrl_jax.pretrained.tensors import INDEX, PICKLES, REMEDY, tensors

TOKENIZER = 'tokenizer.json'
# How sentence-transformers calls what pools, and how we do.
POOLS = {'mean': 'mean', 'cls': 'cls', 'lasttoken': 'last'}
# model_type -> what reads the rest of config.json.
FAMILIES = dict.fromkeys(bert.COUNTED, bert.encoder_options) | {
  'modernbert': modernbert.encoder_options,
  'qwen3': qwen3.encoder_options,
}
LONGEST = 100_000  # a larger length of a tokenizer stands for none
# Names of prompts, the first that a folder has counts.
PROMPTS = {'query': ('query',), 'document': ('document', 'passage', 'corpus')}


class ModelFolder(NamedTuple):
  """Where the parts of a model are.

  Attributes:
    root: the folder that was named, or that of the file that was.
    inner: the folder of the encoder; `root`, or a folder in it.
    first: name of the encoder's module, '' without a modules.json.
    pool: how tokens are pooled, '' if nothing says it.
    normalised: whether embeddings get the length 1 at the end.
  """

  root: Path
  inner: Path
  first: str
  pool: str
  normalised: bool


def config_and_tensors(place: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
  """(groups of a config, tensors) of a folder or of a .safetensors file.

  Raises:
    UsageError: in one line, for what is missing or not supported.
  """
  if not place.exists():
    raise UsageError(f'{place} is not there')
  layout = _layout(place if place.is_dir() else place.parent)
  path = layout.inner / 'config.json'
  config = _json(path)
  theirs = tensors(_weights(place, layout.inner))
  of_model2vec = config.get('model_type') == 'model2vec'
  if of_model2vec or len(theirs) == 1 or layout.first == 'StaticEmbedding':
    theirs = static.table_of(theirs, str(place))
    tokenizer = _tokenizer(layout)
    encoder, length = _static(theirs, tokenizer, of_model2vec)
  else:
    encoder, length = _transformer(layout, config, str(path))
    tokenizer = _tokenizer(layout)
  _check_vocabulary(tokenizer, encoder['rows'])
  groups = {
    'inputs': {
      field: {
        'name': 'text',
        'tokenizer': str(tokenizer),
        'prompt': prompt,
        'length': length,
      }
      for field, prompt in _prompts(layout).items()
    },
    'encoder': encoder,
    'task': {'name': 'embed', 'field': 'text'},
    'dims': _dims(config, encoder['width'], path),
  }
  return groups, theirs


def is_whole(folder: Path) -> bool:
  """Whether a folder has all files that a model needs."""
  try:
    layout = _layout(folder)
    tensors(_weights(folder, layout.inner))
    _tokenizer(layout)
  except UsageError:
    return False
  return True


def _json(path: Path, kind: type = dict) -> Any:
  """The object or the list in a JSON file; an empty one if there is none."""
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return kind()
  except (OSError, ValueError) as error:
    raise UsageError(f'{path} cannot be read: {error}') from error
  if not isinstance(value, kind):
    raise UsageError(f'{path} holds {str(value)[:40]!r}, not a {kind.__name__}')
  return value


def _layout(root: Path) -> ModelFolder:
  """The parts that modules.json names, all of which must be known."""
  path = root / 'modules.json'
  modules = _json(path, list)
  if not modules:
    return ModelFolder(root, root, '', '', False)
  try:
    named = [(m['type'].rpartition('.')[2], m['path']) for m in modules]
  except (KeyError, TypeError, AttributeError) as error:
    raise UsageError(f'{path} is not a list of modules: {error!r}') from error
  first, inner = named[0]
  later = 'Pooling', 'Normalize'
  wrong = [
    n for n, _ in named[:1] if n not in ('Transformer', 'StaticEmbedding')
  ]
  wrong += [name for name, _ in named[1:] if name not in later]
  if wrong:
    raise UsageError(
      f'{path}: the module {wrong[0]} is not read; a model may be Transformer '
      'or StaticEmbedding, then Pooling and Normalize'
    )
  pools = [_pool(root / where) for name, where in named if name == 'Pooling']
  last = pools[-1] if pools else ''
  normalised = any(name == 'Normalize' for name, _ in named)
  return ModelFolder(root, root / inner, first, last, normalised)


def _pool(folder: Path) -> str:
  """Our name of the pooling that the config of a module says."""
  path = folder / 'config.json'
  config = _json(path)
  chosen = config.get('pooling_mode')
  modes = [chosen] if isinstance(chosen, str) else list(chosen or ())
  if not modes:
    start = 'pooling_mode_'
    modes = [
      key.removeprefix(start).removesuffix('_tokens').removesuffix('_token')
      for key, value in config.items()
      if key.startswith(start) and value
    ]
  if len(modes) != 1 or modes[0] not in POOLS:
    raise UsageError(
      f'{path}: pooling by {" and ".join(modes) or "nothing"} is not read; '
      f'it may be {", ".join(POOLS)}'
    )
  if config.get('include_prompt') is False:
    raise UsageError(
      f'{path}: include_prompt=false is not read: tokens of a prompt count '
      'here as others do'
    )
  return POOLS[modes[0]]


def _weights(place: Path, inner: Path) -> Path:
  """The file of the tensors, or the index of several."""
  if place.is_file():
    if not place.name.endswith(('.safetensors', INDEX, *PICKLES)):
      raise UsageError(f'{place} is not a folder or a .safetensors file')
    return place
  for name in ('model.safetensors', f'model{INDEX}'):
    if (inner / name).is_file():
      return inner / name
  files = sorted(inner.glob('*.safetensors'))
  if len(files) == 1:
    return files[0]
  there = [path.name for path in inner.glob('*') if path.suffix in PICKLES]
  if files:
    raise UsageError(
      f'{inner} has {len(files)} .safetensors files and none is '
      'model.safetensors; name one of them'
    )
  said = f'{there[0]} is a pickle, which can run code; ' if there else ''
  raise UsageError(f'{inner} has no .safetensors file; {said}{REMEDY}')


def _tokenizer(layout: ModelFolder) -> Path:
  for folder in (layout.inner, layout.root):
    if (folder / TOKENIZER).is_file():
      return folder / TOKENIZER
  raise UsageError(
    f'{layout.inner} has no {TOKENIZER}; write it with transformers: '
    'AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)'
  )


def _opened(path: Path):
  """The tokenizer in a file."""
  from tokenizers import Tokenizer

  try:
    return Tokenizer.from_file(str(path))
  except Exception as error:  # the library raises nothing narrower
    raise UsageError(f'{path} cannot be read: {error}') from error


def _check_vocabulary(path: Path, rows: int) -> None:
  tokens = max(_opened(path).get_vocab().values(), default=-1) + 1
  if tokens > rows:
    raise UsageError(
      f'{path} has {tokens} tokens and the token table {rows} rows: they are '
      'not of the same model'
    )


def _transformer(
  layout: ModelFolder, config: Mapping, path: str
) -> tuple[dict[str, Any], int]:
  """(name and options of the encoder, length of texts)."""
  if not config:
    raise UsageError(
      f'{path} is not there: the sizes of the encoder are unknown'
    )
  family = config.get('model_type')
  if family not in FAMILIES:
    named = config.get('architectures') or [family]
    raise UsageError(
      f'{path}: {named[0]} is not an encoder that is read; model_type may be '
      f'{", ".join(FAMILIES)} or model2vec'
    )
  options, limit = FAMILIES[family](config, path)
  pool = layout.pool or options.get('pool', 'mean')
  if not layout.pool:
    chosen = 'last token' if pool == 'last' else 'mean of tokens'
    progress.say(f'note: {layout.root} names no pooling; it is the {chosen}')
  return options | {'pool': pool}, _length(layout, limit)


def _static(
  theirs: Mapping, path: Path, of_model2vec: bool
) -> tuple[dict[str, Any], int]:
  """(options of encoders/static.py, length of texts).

  These models take the mean over tokens without special ones; model2vec
  leaves out unknown ones too.
  """
  rows, width = theirs['embedding.weight'].shape
  tokenizer = _opened(path)
  bare = tokenizer.encode('', add_special_tokens=False).ids
  ignored = set(tokenizer.encode('').ids) - set(bare)
  added = tokenizer.num_special_tokens_to_add(is_pair=False)
  length = static.LENGTH
  if of_model2vec:
    length = static.LENGTH_OF_MODEL2VEC
    word = getattr(tokenizer.model, 'unk_token', None)
    unknown = None if word is None else tokenizer.token_to_id(word)
    ignored |= set() if unknown is None else {unknown}
  options = {'width': width, 'rows': rows, 'ignored': tuple(sorted(ignored))}
  return {'name': 'static', **options}, length + added


def _length(layout: ModelFolder, room: int) -> int:
  """Tokens of the longest text, at most `room`."""
  # Older folders name the architecture: sentence_roberta_config.json.
  paths = sorted(layout.inner.glob('sentence_*_config.json'))
  path = paths[0] if paths else layout.inner / 'sentence_bert_config.json'
  config = _json(path)
  if config.get('do_lower_case'):
    _check_lower_case(path, _tokenizer(layout))
  stated = config.get('max_seq_length')
  if stated and stated > room:
    raise UsageError(
      f'{path}: max_seq_length={stated} is longer than the {room} positions of '
      'the encoder; correct it there'
    )
  other = _json(layout.inner / 'tokenizer_config.json').get('model_max_length')
  if not stated and other and other < LONGEST:
    stated = min(int(other), room)
  return stated or room


def _check_lower_case(path: Path, tokenizer: Path) -> None:
  normalizer = _opened(tokenizer).normalizer
  if normalizer is None or normalizer.normalize_str('Ab') != 'ab':
    raise UsageError(
      f'{path}: do_lower_case=true, but {tokenizer.name} keeps capitals; save '
      'the model with a current sentence-transformers'
    )


def _prompts(layout: ModelFolder) -> dict[str, str]:
  """The prompt of each field: 'text', 'query' and 'document' if they differ."""
  path = layout.root / 'config_sentence_transformers.json'
  config = _json(path)
  prompts, default = (
    config.get('prompts') or {},
    config.get('default_prompt_name'),
  )
  if default is not None and default not in prompts:
    raise UsageError(
      f'{path}: default_prompt_name={default!r} is not one of its prompts: '
      f'{", ".join(prompts) or "none"}'
    )
  fields = {'text': prompts[default] if default is not None else ''}
  for field, names in PROMPTS.items():
    known = [prompts[name] for name in names if prompts.get(name) is not None]
    if known and known[0] != fields['text']:
      fields[field] = known[0]
  compared = config.get('similarity_fn_name') or 'cosine'
  if compared != 'cosine' and not layout.normalised:
    progress.say(
      f'note: {path} compares by {compared}; here embeddings are compared by '
      'the cosine'
    )
  return fields


def _dims(config: Mapping, width: int, path: Path) -> Sequence[int]:
  """The dims that a folder says it was trained for, or evenly spaced ones."""
  stated = config.get('matryoshka_dimensions')
  if not stated:
    return nested.spaced(width)
  try:
    dims = {int(dim) for dim in stated}
  except (TypeError, ValueError) as error:
    raise UsageError(f'{path}: matryoshka_dimensions={stated!r}') from error
  return tuple(sorted({dim for dim in dims if 0 < dim < width} | {width}))
