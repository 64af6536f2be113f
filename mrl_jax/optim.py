"""Learning-rate schedules and optimizer chains."""

import inspect

import jax
import optax

from mrl_jax.shapes import PyTree

# The kind of a parameter decides whether it decays: the last name of its path.
# For a list of parameters that is the name of the list.
DECAYED = {'kernel', 'embedding'}
NOT_DECAYED = {'bias', 'scale', 'positions', 'token', 'probe'}

SCHEDULES = ('cosine', 'linear', 'constant')


def decay_mask(params: PyTree) -> PyTree:
  """True for parameters that decay: kernels and embeddings.

  Raises:
    ValueError: for a kind that stands in neither table.
  """

  def decays(path, _):
    kind = next(key.key for key in path[::-1] if isinstance(key.key, str))
    if kind not in DECAYED | NOT_DECAYED:
      raise ValueError(
        f'parameter kind {kind!r} is in neither DECAYED nor NOT_DECAYED '
        f'of optim.py; add it to one'
      )
    return kind in DECAYED

  return jax.tree_util.tree_map_with_path(decays, params)


def make_schedule(
  kind: str, peak: float, warmup_steps: int, steps: int
) -> optax.Schedule:
  """Linear warm-up from 0 to `peak`, then cosine or linear to 0, or constant.

  Raises:
    ValueError: for an unknown kind, or a warm-up as long as the run.
  """
  if kind not in SCHEDULES:
    raise ValueError(
      f'optim.schedule={kind!r} is not one of {", ".join(SCHEDULES)}'
    )
  if not 0 <= warmup_steps < steps:
    raise ValueError(
      f'optim.warmup_steps={warmup_steps} must be from 0 to below the '
      f"run's {steps} steps"
    )
  rest = steps - warmup_steps
  after = {
    'cosine': lambda: optax.cosine_decay_schedule(peak, rest),
    'linear': lambda: optax.linear_schedule(peak, 0.0, rest),
    'constant': lambda: optax.constant_schedule(peak),
  }[kind]()
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])


def adamw(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8):
  """Adam (arXiv:1412.6980)."""
  return [], [optax.scale_by_adam(b1=b1, b2=b2, eps=eps)]


def sgd(momentum: float = 0.9, nesterov: bool = False):
  """Gradients with momentum."""
  return [optax.trace(decay=momentum, nesterov=nesterov)], []


def adafactor(
  decay_rate: float = 0.8, clipping: float = 1.0, smallest_factored: int = 128
):
  """Adafactor (arXiv:1804.04235), without its own learning rate."""
  factored = optax.scale_by_factored_rms(
    decay_rate=decay_rate, min_dim_size_to_factor=smallest_factored
  )
  return [], [factored, optax.clip_by_block_rms(clipping)]


def lion(b1: float = 0.9, b2: float = 0.99):
  """Lion (arXiv:2302.06675)."""
  return [], [optax.scale_by_lion(b1=b1, b2=b2)]


# Each returns two lists of transformations: those that run after weight decay
# is added to the gradient (coupled decay, as in SGD), and those that run before
# (decoupled decay, as in AdamW).
OPTIMIZERS = {'adamw': adamw, 'sgd': sgd, 'adafactor': adafactor, 'lion': lion}


def make_optimizer(
  name: str,
  schedule: optax.Schedule,
  weight_decay: float = 0.0,
  clip_norm: float = 0.0,
  **options,
) -> optax.GradientTransformation:
  """Clip by global norm -> optimizer `name` -> weight decay -> learning rate.

  Weight decay is multiplied by the learning rate, as in torch's AdamW and SGD.
  For SGD it enters the momentum (L2). A value of 0 turns clipping or decay off.

  Raises:
    ValueError: for an unknown optimizer or option, naming the known ones.
  """
  if name not in OPTIMIZERS:
    raise ValueError(
      f'optim.name={name!r} is not one of {", ".join(OPTIMIZERS)}'
    )
  known = inspect.signature(OPTIMIZERS[name]).parameters
  for option in options:
    if option not in known:
      raise ValueError(
        f'optim.options.{option} is unknown to {name}; it takes '
        f'{", ".join(known)}'
      )
  coupled, decoupled = OPTIMIZERS[name](**options)
  clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
  decay = []
  if weight_decay:
    decay = [optax.add_decayed_weights(weight_decay, mask=decay_mask)]
  rate = optax.scale_by_learning_rate(schedule)
  return optax.chain(*clip, *decoupled, *decay, *coupled, rate)
