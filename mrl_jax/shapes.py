"""jaxtyping names used in signatures, and what each dimension letter means."""

from jaxtyping import Array, Bool, Float, Int, Key, PyTree

__all__ = ['Array', 'Bool', 'Float', 'Int', 'Key', 'PyTree', 'LETTERS']

LETTERS = {
  'b': 'examples in a batch',
  'h w c': 'image height, width, channels',
  'n': 'tokens of one example',
  'l': 'layers of an encoder',
  'd': 'full embedding width',
  'm': 'width of one prefix',
  'g': 'number of prefixes (granularities)',
  'k': 'neighbours kept per query',
  'q': 'queries',
  'r': 'database rows',
  'v': 'classes or vocabulary entries',
}
