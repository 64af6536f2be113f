"""What is needed to repeat a run: versions, commit, devices, command."""

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import jax


def describe() -> dict:
  """Versions, commit, devices and the command, for whoever repeats this."""
  packages = (
    'jax jaxlib flax optax orbax-checkpoint grain tensorflow-datasets numpy'
  ).split()
  try:
    commit = subprocess.run(
      ['git', 'rev-parse', 'HEAD'],
      cwd=Path(__file__).parent,
      capture_output=True,
      text=True,
      check=False,
    ).stdout.strip()
  except OSError:  # no git here
    commit = ''
  return {
    'time': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': ' '.join(sys.argv),
    'python': platform.python_version(),
    'versions': {name: importlib.metadata.version(name) for name in packages},
    'git_commit': commit or None,
    'processes': jax.process_count(),
    'devices': [f'{jax.device_count()} x {jax.devices()[0].device_kind}'],
    'platform': jax.default_backend(),
  }
