"""Fifteen ways to corrupt an image, each at five severities.

The kinds are those of Hendrycks and Dietterich (arXiv:1903.12261, section 4);
the last two come from their list of perturbations. The formulas and the
strengths are ours. A row of CORRUPTIONS is a function `f(image, severity,
rng)` of a uint8 image [h w c] with 1 or 3 channels. It returns the same shape
and type. Severities are 1 to 5. Strengths are for pixels in [0, 1].

The strengths adapt to the size of the image. Moves are shares of a side. The
reach of a blur is given for a side of 224 pixels and grows with the square
root of the side, about as the published strengths for 32 and 224 pixels do.
"""

import io
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import scipy
from PIL import Image

from mrl_jax.shapes import Float, Int

SEVERITIES = (1, 2, 3, 4, 5)
Pixels = Int[np.ndarray, 'h w c']


def length(pixels: float, image: Pixels) -> float:
  """A length given for a side of 224 pixels, scaled to the shorter side."""
  return pixels * (min(image.shape[:2]) / 224) ** 0.5


def _to_bytes(x: Float[np.ndarray, 'h w c']) -> Pixels:
  return np.round(np.clip(x, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image, severity, rng) -> Pixels:
  """Normal noise, drawn for each pixel and channel."""
  deviation = (0.06, 0.10, 0.15, 0.22, 0.32)[severity - 1]
  return _to_bytes(image / 255 + rng.normal(0, deviation, image.shape))


def shot_noise(image, severity, rng) -> Pixels:
  """Poisson counts of photons: bright pixels vary most."""
  photons = (80, 40, 20, 10, 5)[severity - 1]
  return _to_bytes(rng.poisson(image / 255 * photons) / photons)


def impulse_noise(image, severity, rng) -> Pixels:
  """Salt and pepper on a share of the pixels' channels."""
  share = (0.02, 0.05, 0.10, 0.17, 0.27)[severity - 1]
  hit = rng.random(image.shape) < share
  salt = rng.random(image.shape) < 0.5
  return np.where(hit, np.where(salt, 255, 0), image).astype(np.uint8)


def gaussian_blur(image, severity, rng) -> Pixels:
  """The image blurred by a Gaussian; its edge is repeated."""
  del rng
  sigma = length((2, 3, 4, 5, 6.5)[severity - 1], image)
  blurred = scipy.ndimage.gaussian_filter(
    image / 255, (sigma, sigma, 0), mode='nearest'
  )
  return _to_bytes(blurred)


def _convolved(image, kernel: Float[np.ndarray, 'y x']) -> Pixels:
  """The image blurred by a kernel of odd sides; its edge is repeated."""
  y, x = (side // 2 for side in kernel.shape)
  padded = np.pad(image / 255, ((y, y), (x, x), (0, 0)), mode='edge')
  kernel = kernel / kernel.sum()
  found = scipy.signal.fftconvolve(
    padded, kernel[..., None], 'valid', axes=(0, 1)
  )
  return _to_bytes(found)


def defocus_blur(image, severity, rng) -> Pixels:
  """Blurred by a disc, as by a lens out of focus."""
  del rng
  radius = length((4, 5.5, 7, 9, 12)[severity - 1], image)
  reach = int(np.ceil(radius))
  y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
  return _convolved(image, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def motion_blur(image, severity, rng) -> Pixels:
  """Blurred by a line in a random direction, as by a camera that moves."""
  size = length((8, 12, 16, 22, 30)[severity - 1], image)
  angle = rng.uniform(0, np.pi)
  reach = int(np.ceil(size / 2)) + 1
  kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
  along = np.linspace(-size / 2, size / 2, 4 * reach + 1)
  y, x = reach + along * np.sin(angle), reach + along * np.cos(angle)
  top, left = np.floor(y).astype(int), np.floor(x).astype(int)
  down, right = y - top, x - left
  for dy, dx, weight in (
    (0, 0, (1 - down) * (1 - right)),
    (0, 1, (1 - down) * right),
    (1, 0, down * (1 - right)),
    (1, 1, down * right),
  ):
    np.add.at(kernel, (top + dy, left + dx), weight)
  return _convolved(image, kernel)


def zoom_blur(image, severity, rng) -> Pixels:
  """The mean over zooms from 1 on, as by a camera that moves forward."""
  del rng
  most = (0.10, 0.16, 0.23, 0.31, 0.40)[severity - 1]
  height, width = image.shape[:2]
  zooms = np.linspace(1, 1 + most, 9)
  total = np.zeros(image.shape)
  for zoom in zooms:
    y, x = (side * (1 - 1 / zoom) / 2 for side in (height, width))
    total += resized(image, height, width, (x, y, width - x, height - y))
  return _to_bytes(total / len(zooms) / 255)


def resized(image, height, width, box=None, how='BILINEAR') -> Pixels:
  """The image, or its `box`, at another size."""
  picture = _to_picture(image).resize(
    (width, height), Image.Resampling[how], box=box
  )
  return np.asarray(picture).reshape(height, width, -1)


def _to_picture(image: Pixels) -> Image.Image:
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def fog(image, severity, rng) -> Pixels:
  """The image behind white fog, whose thickness differs from place to place.

  The thickness is noise whose amplitude falls as 1 / frequency^1.6, scaled to
  [0, 1].
  """
  thickness = (0.35, 0.45, 0.55, 0.65, 0.75)[severity - 1]
  height, width = image.shape[:2]
  y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
  frequency = np.hypot(y, x)
  frequency[0, 0] = np.inf
  waves = np.fft.rfft2(rng.normal(size=(height, width))) / frequency**1.6
  plasma = np.fft.irfft2(waves, (height, width))
  plasma = plasma - plasma.min()
  plasma = plasma / max(plasma.max(), 1e-12)
  veil = thickness * (0.6 + 0.4 * plasma)[..., None]
  return _to_bytes(image / 255 * (1 - veil) + veil)


def brightness(image, severity, rng) -> Pixels:
  """Light added everywhere; pixels cannot become brighter than white."""
  del rng
  added = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
  return _to_bytes(image / 255 + added)


def contrast(image, severity, rng) -> Pixels:
  """Pixels moved towards the mean of their channel."""
  del rng
  kept = (0.7, 0.55, 0.4, 0.28, 0.18)[severity - 1]
  x = image / 255
  mean = x.mean(axis=(0, 1))
  return _to_bytes(mean + kept * (x - mean))


def elastic(image, severity, rng) -> Pixels:
  """Pixels moved by a smooth random field, on average a share of the side."""
  height, width = image.shape[:2]
  share = (0.014, 0.022, 0.032, 0.044, 0.06)[severity - 1]
  moved = share * min(height, width)
  smooth = max(0.08 * min(height, width), 1.5)
  noise = rng.normal(size=(2, height, width))
  field = scipy.ndimage.gaussian_filter(
    noise, (0, smooth, smooth), mode='reflect'
  )
  field *= moved / max(np.sqrt(np.mean(np.sum(field**2, axis=0))), 1e-12)
  return _sampled(image, np.mgrid[:height, :width] + field)


def _sampled(image, places: Float[np.ndarray, '2 h w']) -> Pixels:
  """The image at places between its pixels; beyond its edge, the edge."""
  channels = [
    scipy.ndimage.map_coordinates(channel, places, order=1, mode='nearest')
    for channel in np.moveaxis(image / 255, -1, 0)
  ]
  return _to_bytes(np.stack(channels, axis=-1))


def pixelate(image, severity, rng) -> Pixels:
  """Shrunk to a share of its sides, then enlarged again."""
  del rng
  share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
  height, width = image.shape[:2]
  small = (max(1, round(share * side)) for side in (height, width))
  return resized(
    resized(image, *small, how='BOX'), height, width, how='NEAREST'
  )


def jpeg(image, severity, rng) -> Pixels:
  """Saved as JPEG of low quality."""
  del rng
  quality = (25, 18, 14, 10, 7)[severity - 1]
  data = io.BytesIO()
  _to_picture(image).save(data, 'JPEG', quality=quality)
  with Image.open(data) as picture:
    return np.asarray(picture).reshape(image.shape)


def rotate(image, severity, rng) -> Pixels:
  """Turned about its centre, left or right; the edge is repeated."""
  degrees = (8, 14, 20, 28, 36)[severity - 1] * rng.choice((-1, 1))
  sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
  height, width = image.shape[:2]
  centre = np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
  y, x = np.mgrid[:height, :width] - centre
  turned = np.stack([cosine * y - sine * x, sine * y + cosine * x])
  return _sampled(image, turned + centre)


def translate(image, severity, rng) -> Pixels:
  """Moved in a random direction by a share of the shorter side."""
  share = (0.05, 0.09, 0.13, 0.18, 0.24)[severity - 1]
  angle = rng.uniform(0, 2 * np.pi)
  height, width = image.shape[:2]
  way = np.array([np.sin(angle), np.cos(angle)])[:, None, None]
  return _sampled(
    image, np.mgrid[:height, :width] + share * min(height, width) * way
  )


CORRUPTIONS: dict[str, Callable] = {
  'gaussian_noise': gaussian_noise,
  'shot_noise': shot_noise,
  'impulse_noise': impulse_noise,
  'gaussian_blur': gaussian_blur,
  'defocus_blur': defocus_blur,
  'motion_blur': motion_blur,
  'zoom_blur': zoom_blur,
  'fog': fog,
  'brightness': brightness,
  'contrast': contrast,
  'elastic': elastic,
  'pixelate': pixelate,
  'jpeg': jpeg,
  'rotate': rotate,
  'translate': translate,
}


def corrupt(image: Pixels, name: str, severity: int, index: int) -> Pixels:
  """The image corrupted; the same arguments always give the same pixels."""
  rng = np.random.default_rng([zlib.crc32(name.encode()), severity, index])
  return CORRUPTIONS[name](image, severity, rng)


class Corrupted(Sequence):
  """Records {'image', 'label'} whose images are corrupted when read.

  Args:
    indices: of the images in their split; they seed the randomness.
  """

  def __init__(self, images, labels, indices, name: str, severity: int):
    self.images, self.labels, self.indices = images, labels, indices
    self.name, self.severity = name, severity

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, i: int) -> dict:
    image = corrupt(
      self.images[i], self.name, self.severity, int(self.indices[i])
    )
    return {'image': image, 'label': int(self.labels[i])}
