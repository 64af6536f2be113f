"""Errors that end a command with one clear line instead of a traceback."""

import sys


class UsageError(ValueError):
  """A command, config or file that cannot be used; the user can correct it."""

  exit_code = 2


class NonFinite(ArithmeticError):
  """Training has diverged."""

  exit_code = 3


EXPECTED = (UsageError, NonFinite)


def tell(error: UsageError | NonFinite) -> int:
  """Prints one line on stderr and returns the exit code."""
  print(f'error: {error}', file=sys.stderr, flush=True)
  return error.exit_code
