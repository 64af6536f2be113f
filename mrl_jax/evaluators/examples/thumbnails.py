"""Small PNG pictures in base64: images, and images under a map."""

import base64
import io

import numpy as np
from PIL import Image

from mrl_jax.shapes import Float, Int

COLOURS = 64  # of the palette of a thumbnail that is not grey


def thumbnail(image: Int[np.ndarray, 'h w c'], side: int) -> str:
  """The image, no side above `side`: grey, or of 64 colours."""
  if image.shape[-1] == 1:
    return _png(_shrunk(Image.fromarray(image[..., 0]), side))
  picture = _shrunk(Image.fromarray(image[..., :3]), side)
  return _png(picture.quantize(COLOURS))


def overlay(
  image: Int[np.ndarray, 'h w c'], values: Float[np.ndarray, 'h w'], side: int
) -> str:
  """The grey image under its map: where that is high red, then yellow."""
  grey = image.mean(axis=-1, keepdims=True)
  heat = values[..., None] * 3 - np.arange(3)
  heat = 255 * np.clip(heat, 0, 1)
  cover = 0.65 * values[..., None]
  mixed = np.round(grey * (1 - cover) + heat * cover).astype(np.uint8)
  return _png(_shrunk(Image.fromarray(mixed), side).quantize(COLOURS))


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
  picture.thumbnail((side, side), Image.Resampling.LANCZOS)
  return picture


def _png(picture: Image.Image) -> str:
  data = io.BytesIO()
  picture.save(data, 'PNG', optimize=True)
  return base64.b64encode(data.getvalue()).decode()
