"""A Matryoshka ViT: every prefix of its embedding classifies.

  python train.py --config=configs/vit_mrl.py                 # digits, 3 min
  python train.py --config=configs/vit_mrl.py:fashion_mnist   # 2 cores, 1 h
  python train.py --config=configs/vit_mrl.py:cifar10
  python train.py --config=configs/vit_mrl.py:cifar100
  python train.py --config=configs/vit_mrl.py:imagenet        # ViT-S/16
  python train.py --config=configs/vit_mrl.py:imagenet,B/16
  python train.py --config=configs/vit_mrl.py:cifar10,smoke   # any, + smoke

ImageNet must be prepared once, see `python -m mrl_jax.prepare --help`.
"""

from ml_collections import ConfigDict

DATASETS = ('digits', 'fashion_mnist', 'cifar10', 'cifar100', 'imagenet')
IMAGENET_SIZES = ('Ti/16', 'S/16', 'B/16', 'L/16', 'S/32', 'B/32')
WIDTHS = {'Ti': 192, 'S': 384, 'B': 768, 'L': 1024}


def get_config(arg: str = '') -> ConfigDict:
  words = [word for word in arg.split(',') if word]
  known = (*DATASETS, *IMAGENET_SIZES, 'smoke')
  for word in words:
    if word not in known:
      raise ValueError(
        f'{word!r} is no variant; choose from {", ".join(known)}'
      )
  chosen = [word for word in words if word in DATASETS]
  sizes = [word for word in words if word in IMAGENET_SIZES]
  if len(chosen) > 1 or len(sizes) > 1 or (sizes and chosen != ['imagenet']):
    raise ValueError(
      'give one dataset; a size like B/16 goes with imagenet only'
    )

  config = digits()
  if chosen == ['fashion_mnist']:
    fashion_mnist(config)
  elif chosen in (['cifar10'], ['cifar100']):
    cifar(config, chosen[0])
  elif chosen == ['imagenet']:
    imagenet(config, *(sizes[0] if sizes else 'S/16').split('/'))
  if 'smoke' in words:
    smoke(config)
  return config


def digits() -> ConfigDict:
  return ConfigDict(
    dict(
      seed=0,
      dims=(8, 16, 32, 64),
      weights='uniform',  # or 8boost, 8+16boost, or a number per dim
      head=dict(name='mrl'),  # or mrl_e, ff
      encoder=dict(
        name='vit',
        size='tiny',
        image_size=8,
        patch_size=2,
        channels=1,
        pool='gap',  # or cls, map
        position='sincos',  # or learned
        dropout=0.0,
        drop_path=0.0,
        remat=False,
        dtype='float32',
      ),
      task=dict(
        name='classify',
        label_smoothing=0.1,
        mixup=0.2,
        dims_per_step=0,
        form='auto',  # of the loss: see losses/softmax/api.py
      ),
      data=dict(
        source=dict(name='digits'),
        dir='',  # '' is $TFDS_DATA_DIR, else ~/tensorflow_datasets
        augment=dict(crop='random_resized', scale=(0.6, 1.0), flip=False),
        eval_crop=0.875,
        mean=(0.5,),
        std=(0.5,),
        threads=2,
        workers=0,
      ),
      train=dict(
        steps=1500,
        epochs=0.0,
        batch_size=128,
        accumulate=1,
        log_every=100,
        eval_every=500,
      ),
      optim=dict(
        name='adamw',
        learning_rate=2e-3,
        schedule='cosine',
        warmup_steps=100,
        weight_decay=0.05,
        clip_norm=1.0,
        options=dict(),  # b1, momentum ...: see optim.py
        average=0.0,  # decay of the parameters' moving average, 0 off
      ),
      mesh=dict(data=-1, fsdp=1, tensor=1),
      eval=dict(
        batch_size=256,
        dims=(12, 24, 48),  # evaluated too, though not trained
        often=('linear',),  # besides the last step, where all run
        only=(),  # evaluators to run, () is all
        knn=dict(neighbours=20, temperature=0.07),
      ),
      checkpoint=dict(every=500, keep=2, best=''),
      init_from='',  # workdir of a run whose encoder to start from
    )
  )


def fashion_mnist(config: ConfigDict) -> None:
  config.dims = (8, 16, 32, 64, 128)
  config.encoder.update(
    image_size=28, patch_size=4, width=128, depth=4, heads=4
  )
  config.data.source = ConfigDict(dict(name='fashion_mnist', path=''))
  config.data.augment = ConfigDict(dict(crop='pad', pad=1, flip=True))
  config.task.mixup = 0.0
  config.data.update(mean=(0.286,), std=(0.353,))
  config.train.update(
    steps=0, epochs=16.0, batch_size=64, eval_every=5000, log_every=200
  )
  config.optim.update(learning_rate=1e-3, warmup_steps=1000)
  config.eval.update(batch_size=512, dims=(12, 24, 48, 96))
  config.checkpoint.every = 500


def cifar(config: ConfigDict, name: str) -> None:
  config.dims = (8, 16, 32, 64, 128, 192)
  config.encoder.update(
    size='Ti', image_size=32, patch_size=4, channels=3, drop_path=0.1
  )
  config.task.mixup = 0.2
  config.data.source = ConfigDict(dict(name=name, path=''))
  config.data.augment = ConfigDict(
    dict(
      crop='pad',
      pad=4,
      flip=True,
      randaugment_layers=2,
      randaugment_magnitude=10.0,
    )
  )
  config.data.update(
    mean=(0.491, 0.482, 0.447), std=(0.247, 0.243, 0.262), threads=8
  )
  config.train.update(
    steps=0, epochs=200.0, batch_size=512, eval_every=2000, log_every=50
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
  smallest = width
  dims = [width]
  while smallest % 2 == 0 and smallest // 2 >= 8:
    smallest //= 2
    dims.append(smallest)
  config.dims = tuple(reversed(dims))
  config.encoder.update(
    size=size,
    image_size=224,
    patch_size=int(patch),
    channels=3,
    dtype='bfloat16',
  )
  config.task.update(label_smoothing=0.0, mixup=0.2)
  config.data.source = ConfigDict(
    dict(
      name='tfds',
      dataset='imagenet2012',
      train='train',
      validation='validation',
    )
  )
  config.data.augment = ConfigDict(
    dict(
      crop='random_resized',
      scale=(0.05, 1.0),
      flip=True,
      randaugment_layers=2,
      randaugment_magnitude=10.0,
    )
  )
  config.data.update(
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), threads=16, workers=16
  )
  config.train.update(
    steps=0, epochs=90.0, batch_size=1024, eval_every=5000, log_every=50
  )
  config.optim.update(
    learning_rate=1e-3, warmup_steps=10_000, weight_decay=0.1, clip_norm=1.0
  )
  config.eval.update(batch_size=1024, dims=())
  config.checkpoint.update(every=2000, keep=2, best=f'linear/top1/d{width}')


def smoke(config: ConfigDict) -> None:
  """The same pieces, minutes to seconds: few, small steps of a tiny encoder."""
  width = 32
  config.dims = (8, 16, width)
  config.encoder.update(width=width, depth=2, heads=2)
  config.train.update(
    steps=6, epochs=0.0, batch_size=16, log_every=2, eval_every=3
  )
  config.optim.warmup_steps = 2
  config.eval.update(batch_size=64, dims=(12,), only=('linear', 'knn'))
  config.checkpoint.every = 3
  if config.checkpoint.best:
    config.checkpoint.best = f'linear/top1/d{width}'
  config.data.update(threads=1, workers=0)
