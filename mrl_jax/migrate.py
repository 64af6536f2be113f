"""Configs of older runs, in today's keys."""

from collections.abc import Mapping, Sequence

# Keys that have moved, and where to; what stands below them moved along.
MOVED = {
  'head': 'task.head',
  'encoder.image_size': 'inputs.image.size',
  'data.augment': 'inputs.image',
  'data.eval_crop': 'inputs.image.eval_crop',
  'data.mean': 'inputs.image.mean',
  'data.std': 'inputs.image.std',
  'task.form': 'task.loss.form',
  'task.label_smoothing': 'task.loss.label_smoothing',
}
# Keys that are gone: the data says them, or nothing reads them.
GONE = ('encoder.channels', 'eval.final', 'eval.precision', 'eval.search.faiss')

FORMS = {
  'vmap': 'reference',
  'blocks': 'dense',
  'columns': 'tiled',
  'rows': 'tiled',
  'pallas': 'tiled',
}

# Sources whose images have one size. Older runs did not crop images of just
# the encoder's size.
SIZES = {'digits': 8, 'fashion_mnist': 28, 'cifar10': 32, 'cifar100': 32}


def moved(key: str) -> str:
  """Where a key of older configs is today, '' if it has not moved."""
  for old, new in MOVED.items():
    if _within(key, (old,)):
      return new + key.removeprefix(old)
  return ''


def migrated(config: Mapping) -> dict:
  """A saved config, in today's keys if it is of an older run."""
  flat = dict(_flat(config))
  if 'inputs' in config or not any(key.startswith('data.') for key in flat):
    return _without(config, GONE)
  whole: dict = {}
  for key, value in flat.items():
    if _within(key, GONE):
      continue
    key = moved(key) or key
    if key == 'task.loss.form':
      value = FORMS.get(value, value)
    *parents, last = key.split('.')
    group = whole
    for parent in parents:
      group = group.setdefault(parent, {})
    group[last] = value
  _keep_uncropped(whole)
  return whole


def _within(key: str, keys: Sequence[str]) -> bool:
  """Whether a key is one of some keys, or stands below one."""
  return any(key == one or key.startswith(f'{one}.') for one in keys)


def _without(config: Mapping, keys: Sequence[str], prefix: str = '') -> dict:
  """A config without some keys."""
  kept = {}
  for key, value in config.items():
    whole = f'{prefix}{key}'
    if not _within(whole, keys):
      group = isinstance(value, Mapping)
      kept[key] = _without(value, keys, f'{whole}.') if group else value
  return kept


def _keep_uncropped(config: dict) -> None:
  image = config.get('inputs', {}).get('image', {})
  size = SIZES.get(config.get('data', {}).get('source', {}).get('name'))
  if size and image.get('size') in (size, [size, size], (size, size)):
    image['eval_crop'] = 1.0


def _flat(config: Mapping, prefix: str = ''):
  for key, value in config.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f'{prefix}{key}.')
    else:
      yield prefix + key, value
