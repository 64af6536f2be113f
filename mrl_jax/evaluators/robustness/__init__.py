"""`robustness`: the accuracy curve on spoiled images and on shifted sets."""

from collections.abc import Sequence

import numpy as np

from mrl_jax import rows
from mrl_jax.data import corruptions as kinds
from mrl_jax.embed import vectors
from mrl_jax.evaluators import options
from mrl_jax.evaluators.robustness import shifted as sets
from mrl_jax.shapes import Bool, Int

SEED = 0


class Robustness:
  """Top-1 per dimension on corrupted validation images (arXiv:1903.12261).

  Variants of `top1`: `clean`, the same images as they are; each corruption,
  the mean of its severities; `severity1` to `severity5`, the mean of the
  corruptions; `mean` of all. A mean is taken per image first, so its interval
  is one over images.

  Each shifted set is one more variant, named by its folder. It is answered
  among the classes that occur in it only: every folder stands for one or more
  training classes, and an image is right if the highest logit, among the
  classes of all the folders together, belongs to its own folder's.

  Args:
    corruptions: some of data.corruptions.CORRUPTIONS, () for all.
    severities: out of 1 to 5.
    images: how many of the validation images, drawn once; 0 for all.
    shifted: folders of class sub-folders of images. A file map.json in one
      says {sub-folder: training class, or a list of them}; sub-folders that
      it leaves out are left out. Without it they are named as the classes.
  """

  needs = ('images', 'embed', 'labels')

  def __init__(
    self,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    images: int = 1000,
    shifted: Sequence[str] = (),
  ):
    options.at_least(0, images=images)
    if not severities:
      raise ValueError(f'severities=() must be some of {kinds.SEVERITIES}')
    self.images = images
    self.corruptions = options.subset(
      'corruptions', corruptions, tuple(kinds.CORRUPTIONS)
    )
    self.severities = options.subset('severities', severities, kinds.SEVERITIES)
    variants = ['clean', *self.corruptions]
    variants += [f'severity{severity}' for severity in self.severities]
    variants.append('mean')
    self.shifted = sets.named_folders(shifted, variants)
    self.metrics = tuple(f'top1.{name}' for name in (*variants, *self.shifted))

  def run(self, evidence) -> tuple[list[rows.Row], dict]:
    queries, dims = evidence.queries, evidence.dims
    random = np.random.default_rng(SEED)
    most = self.images or len(queries)
    drawn = vectors.draw_rows(random, len(queries), most)
    clean = evidence.classify(queries.at(drawn)).right
    right = self._answers(evidence, drawn)
    variants = {'clean': clean}
    for c, name in enumerate(self.corruptions):
      variants[name] = right[c].mean(axis=0)
    for s, severity in enumerate(self.severities):
      variants[f'severity{severity}'] = right[:, s].mean(axis=0)
    variants['mean'] = right.mean(axis=(0, 1))
    results = []
    for variant, values in variants.items():
      results += rows.means('robustness', 'top1', dims, values, variant=variant)
    details = {
      'images': len(drawn),
      'dims': list(dims),
      'corruptions': list(self.corruptions),
      'severities': list(self.severities),
      'clean': clean.mean(axis=-1).tolist(),
      'grid': right.mean(axis=-1).tolist(),
      'shifted': {},
    }
    for name, path in self.shifted.items():
      more, details['shifted'][name] = sets.answered(evidence, name, path)
      results += more
    return results, details

  def _answers(
    self, evidence, drawn: Int[np.ndarray, 'q']
  ) -> Bool[np.ndarray, 'c s g q']:
    """Whether right, per corruption and severity, on the drawn images."""
    images = evidence.functions['images']('validation', drawn)
    labels = evidence.queries.labels[drawn]

    def right(name, severity):
      spoiled = kinds.Corrupted(images, labels, drawn, name, severity)
      return evidence.classify(evidence.functions['embed'](spoiled)).right

    return np.stack(
      [[right(c, s) for s in self.severities] for c in self.corruptions]
    )
