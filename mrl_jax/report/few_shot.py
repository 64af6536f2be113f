"""few_shot: the nearest class mean from a few examples per class."""

from mrl_jax.report import blocks, curves


def few_shot(evaluation):
  """Accuracy against dimension, a curve per number of examples."""
  shots = evaluation.by('k', 'few_shot', 'top1')
  lines = []
  for colour, k in enumerate(sorted(shots, key=lambda k: k or 0)):
    label = f'{k} example{"" if k == 1 else "s"}'
    lines += curves.lines(label, shots[k], colour)
  yield from blocks.sentences(evaluation, 'few_shot')
  yield from curves.against_dimension(
    'With few labelled examples of each class',
    'right, %',
    lines,
    'The answer is the class whose examples have the nearest mean.',
  )
