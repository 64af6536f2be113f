"""A Matryoshka ViT: every prefix of its embedding classifies.

  python train.py --config=configs/vit_mrl.py                 # glyphs, 4 min
  python train.py --config=configs/vit_mrl.py:digits          # 3 min
  python train.py --config=configs/vit_mrl.py:fashion_mnist   # 2 cores, 1 h
  python train.py --config=configs/vit_mrl.py:cifar10
  python train.py --config=configs/vit_mrl.py:cifar100
  python train.py --config=configs/vit_mrl.py:imagenet        # ViT-S/16
  python train.py --config=configs/vit_mrl.py:imagenet,B/16
  python train.py --config=configs/vit_mrl.py:cifar10,smoke   # any, + smoke

This file names only what differs from the defaults; `--print_config` shows
every key. ImageNet must be prepared once: `python -m mrl_jax.prepare --help`.
"""

from ml_collections import ConfigDict

DATASETS = (
  'glyphs',
  'digits',
  'fashion_mnist',
  'cifar10',
  'cifar100',
  'imagenet',
)
IMAGENET_SIZES = ('Ti/16', 'S/16', 'B/16', 'L/16', 'S/32', 'B/32')
WIDTHS = {'Ti': 192, 'S': 384, 'B': 768, 'L': 1024}


def get_config(arg: str = '') -> ConfigDict:
  words = [word for word in arg.split(',') if word]
  known = (*DATASETS, *IMAGENET_SIZES, 'smoke')
  for word in words:
    if word not in known:
      raise ValueError(
        f'{word!r} is not a variant; choose from {", ".join(known)}'
      )
  chosen = [word for word in words if word in DATASETS]
  sizes = [word for word in words if word in IMAGENET_SIZES]
  if len(chosen) > 1 or len(sizes) > 1 or (sizes and chosen != ['imagenet']):
    raise ValueError(
      'give one dataset; a size like B/16 goes with imagenet only'
    )

  config = ConfigDict(
    dict(
      dims=(8, 16, 32, 64),
      inputs=dict(image=dict(name='image')),
      encoder=dict(name='vit', size='tiny'),
      task=dict(
        name='classify',
        head=dict(name='mrl'),  # or mrl_e, ff
        loss=dict(name='softmax', label_smoothing=0.1),
        mixup=0.2,
      ),
      data=dict(source=dict(name='digits'), threads=2),
      train=dict(batch_size=128, log_every=100, eval_every=500),
      optim=dict(
        name='adamw',
        learning_rate=2e-3,
        warmup_steps=100,
        weight_decay=0.05,
        clip_norm=1.0,
      ),
      eval=dict(batch_size=256),
      checkpoint=dict(every=500),
    )
  )
  if chosen == ['fashion_mnist']:
    fashion_mnist(config)
  elif chosen == ['digits']:
    digits(config)
  elif chosen in (['cifar10'], ['cifar100']):
    cifar(config, chosen[0])
  elif chosen == ['imagenet']:
    imagenet(config, *(sizes[0] if sizes else 'S/16').split('/'))
  else:
    glyphs(config)
  if 'smoke' in words:
    smoke(config)
  return config


def glyphs(config: ConfigDict) -> None:
  """A thousand characters, on typefaces that training does not show."""
  config.dims = (8, 16, 32, 64)
  config.inputs.image.update(
    size=28, crop='affine', scale=(0.93, 1.07), shear=0.1, rotate=2.0, pad=1
  )
  config.encoder.update(stem='conv', patch_size=8, depth=2)
  config.task.mixup = 0.0
  config.task.loss.label_smoothing = 0.0
  config.data.source = ConfigDict(dict(name='glyphs'))
  config.train.update(steps=2400, eval_every=800)
  config.optim.learning_rate = 3e-3
  config.eval.update(
    dims=(12, 24, 48),  # evaluated too, though not trained
    # A thousand classes make logistic regression the longest part of a run.
    probe=dict(solver='ridge'),
    baselines=dict(probe=False),
    robustness=dict(images=500),
  )


def digits(config: ConfigDict) -> None:
  config.inputs.image.update(size=8, crop='random_resized', scale=(0.6, 1.0))
  config.encoder.patch_size = 2
  config.train.steps = 1500
  config.eval.dims = (12, 24, 48)  # evaluated too, though not trained


def fashion_mnist(config: ConfigDict) -> None:
  config.dims = (8, 16, 32, 64, 128)
  config.inputs.image.update(
    size=28, crop='pad', pad=1, flip=True, mean=(0.286,), std=(0.353,)
  )
  config.encoder.update(patch_size=4, width=128, depth=4, heads=4)
  config.task.mixup = 0.0
  config.data.source = ConfigDict(dict(name='fashion_mnist'))
  config.train.update(
    epochs=16.0, batch_size=64, eval_every=5000, log_every=200
  )
  config.optim.update(learning_rate=1e-3, warmup_steps=1000)
  config.eval.update(batch_size=512, dims=(12, 24, 48, 96))


def cifar(config: ConfigDict, name: str) -> None:
  config.dims = (8, 16, 32, 64, 128, 192)
  config.inputs.image.update(
    size=32,
    crop='pad',
    pad=4,
    flip=True,
    randaugment_layers=2,
    mean=(0.491, 0.482, 0.447),
    std=(0.247, 0.243, 0.262),
  )
  config.encoder.update(size='Ti', patch_size=4, drop_path=0.1)
  config.data.update(source=ConfigDict(dict(name=name)), threads=8)
  config.train.update(
    epochs=200.0, batch_size=512, eval_every=2000, log_every=50
  )
  config.optim.update(learning_rate=1e-3, warmup_steps=1000)
  config.eval.update(batch_size=512, dims=(12, 24, 48, 96))
  config.checkpoint.every = 1000


def imagenet(config: ConfigDict, size: str, patch: str) -> None:
  """The plain ViT recipe of arXiv:2205.01580, 90 epochs.

  Its decoupled weight decay of 1e-4 is not multiplied by the learning rate;
  ours is, so 0.1 * 1e-3 says the same.
  """
  width = WIDTHS[size]
  dims = [width]
  while dims[0] % 2 == 0 and dims[0] // 2 >= 8:
    dims.insert(0, dims[0] // 2)
  config.dims = tuple(dims)
  config.inputs.image.update(
    size=224,
    crop='random_resized',
    scale=(0.05, 1.0),
    flip=True,
    randaugment_layers=2,
    eval_crop=0.875,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
  )
  config.encoder.update(size=size, patch_size=int(patch), dtype='bfloat16')
  config.task.loss.label_smoothing = 0.0
  config.data.update(
    source=ConfigDict(dict(name='tfds', dataset='imagenet2012')),
    threads=16,
    workers=16,
  )
  config.train.update(
    epochs=90.0, batch_size=1024, eval_every=5000, log_every=50
  )
  config.optim.update(learning_rate=1e-3, warmup_steps=10_000, weight_decay=0.1)
  config.eval.batch_size = 1024
  config.checkpoint.update(every=2000, best=f'linear/top1/d{width}')


def smoke(config: ConfigDict) -> None:
  """The same pieces in six small steps of a tiny encoder."""
  width = 32
  config.dims = (8, 16, width)
  config.encoder.update(width=width, depth=2, heads=2)
  config.train.update(
    steps=6, epochs=0.0, batch_size=16, log_every=2, eval_every=3
  )
  config.optim.warmup_steps = 2
  config.eval.update(batch_size=64, dims=(12,), only=('linear', 'knn'))
  config.checkpoint.every = 3
  if 'best' in config.checkpoint:
    config.checkpoint.best = f'linear/top1/d{width}'
  config.data.update(threads=1, workers=0)
