"""A Matryoshka ViT on your own images: a folder of class sub-folders.

  python train.py --config=configs/vit_folder.py \
      --config.data.source.path=photos --workdir=runs/photos

`photos/<class>/*.jpg` (a tenth is held out), or `photos/train/<class>` and
`photos/val/<class>`. `:smoke` is the same in seconds.
"""

from ml_collections import ConfigDict


def get_config(arg: str = '') -> ConfigDict:
  if arg not in ('', 'smoke'):
    raise ValueError(f'{arg!r} is no variant; choose from smoke')
  config = ConfigDict(
    dict(
      seed=0,
      dims=(8, 16, 32, 64, 128, 192),
      weights='uniform',
      head=dict(name='mrl'),
      encoder=dict(
        name='vit',
        size='Ti',
        image_size=64,
        patch_size=8,
        channels=3,
        width=0,
        depth=0,
        heads=0,
        drop_path=0.1,
        dtype='float32',
      ),
      task=dict(name='classify', label_smoothing=0.1, mixup=0.2),
      data=dict(
        source=dict(
          name='folder',
          path='',
          validation_path='',
          validation_fraction=0.1,
          channels=3,
          check_files=True,
        ),
        dir='',
        augment=dict(
          crop='random_resized',
          scale=(0.2, 1.0),
          flip=True,
          randaugment_layers=2,
          randaugment_magnitude=10.0,
        ),
        eval_crop=0.875,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        threads=8,
        workers=0,
      ),
      train=dict(
        steps=0,
        epochs=100.0,
        batch_size=64,
        accumulate=1,
        log_every=20,
        eval_every=1000,
      ),
      optim=dict(
        name='adamw',
        learning_rate=1e-3,
        schedule='cosine',
        warmup_steps=100,
        weight_decay=0.05,
        clip_norm=1.0,
        options=dict(),  # b1, momentum ...: see optim.py
        average=0.0,
      ),
      mesh=dict(data=-1, fsdp=1, tensor=1),
      eval=dict(
        batch_size=64,
        dims=(12, 24, 48, 96),
        often=('linear',),  # besides the last step, where all run
        only=(),  # evaluators to run, () is all
        knn=dict(neighbours=20, temperature=0.07),
      ),
      checkpoint=dict(every=500, keep=2, best=''),
      init_from='',
    )
  )
  if arg == 'smoke':
    config.dims = (8, 16, 32)
    config.encoder.update(width=32, depth=2, heads=2, image_size=32)
    config.train.update(
      steps=6, epochs=0.0, batch_size=16, log_every=2, eval_every=3
    )
    config.optim.warmup_steps = 2
    config.eval.update(dims=(12,), only=('linear', 'knn'))
    config.checkpoint.every = 3
  return config
