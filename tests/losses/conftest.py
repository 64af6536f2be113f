"""Programs of the losses run for milliseconds and compile for seconds."""

import jax
import pytest


@pytest.fixture(autouse=True)
def quick_compiles():
  """XLA's passes stay, LLVM's are left out: half the time, equal numbers."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)
