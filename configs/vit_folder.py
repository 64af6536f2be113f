"""A Matryoshka ViT on your own images: a folder of class sub-folders.

  python train.py --config=configs/vit_folder.py \
      --config.data.source.path=photos --workdir=runs/photos

The images are `photos/<class>/*.jpg`, of which a tenth is held out, or
`photos/train/<class>/*.jpg` and `photos/val/<class>/*.jpg`. The variant
`:smoke` runs six steps of a tiny encoder.
"""

from ml_collections import ConfigDict


def get_config(arg: str = '') -> ConfigDict:
  if arg not in ('', 'smoke'):
    raise ValueError(f'{arg!r} is not a variant; choose from smoke')
  config = ConfigDict(
    dict(
      dims=(8, 16, 32, 64, 128, 192),
      inputs=dict(
        image=dict(
          name='image',
          size=64,
          crop='random_resized',
          scale=(0.2, 1.0),
          flip=True,
          randaugment_layers=2,
          eval_crop=0.875,
          mean=(0.485, 0.456, 0.406),
          std=(0.229, 0.224, 0.225),
        )
      ),
      encoder=dict(name='vit', size='Ti', patch_size=8, drop_path=0.1),
      task=dict(
        name='classify',
        loss=dict(name='softmax', label_smoothing=0.1),
        mixup=0.2,
      ),
      data=dict(source=dict(name='folder', path='')),
      train=dict(epochs=100.0, batch_size=64, log_every=20, eval_every=1000),
      optim=dict(
        learning_rate=1e-3,
        warmup_steps=100,
        weight_decay=0.05,
        clip_norm=1.0,
      ),
      eval=dict(batch_size=64, dims=(12, 24, 48, 96)),
    )
  )
  if arg == 'smoke':
    config.dims = (8, 16, 32)
    config.inputs.image.size = 32
    config.encoder.update(width=32, depth=2, heads=2)
    config.train.update(
      steps=6, epochs=0.0, batch_size=16, log_every=2, eval_every=3
    )
    config.optim.warmup_steps = 2
    config.eval.update(dims=(12,), only=('linear', 'knn'))
    config.checkpoint = ConfigDict(dict(every=3))
  return config
