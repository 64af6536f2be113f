"""Child processes of the tests.

No test races against a clock: a loaded machine makes a child slow, not wrong.
`LIMIT_SECONDS` is the one common limit, which only a hung child reaches.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent
LIMIT_SECONDS = 1800
POLL_SECONDS = 0.02


class Result(NamedTuple):
  """How a child ended."""

  code: int
  out: str
  err: str


class Child:
  """`python argv...` at the root, on emulated CPU devices.

  It writes to files, so that no full pipe can block it. Used in a `with`
  block, it is killed at the end of the block.
  """

  def __init__(self, *argv, devices: int = 1):
    self.folder = Path(tempfile.mkdtemp())
    variables = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'PYTHONPATH': str(ROOT),
      'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    }
    with (
      open(self.folder / 'out', 'w', encoding='utf-8') as out,
      open(self.folder / 'err', 'w', encoding='utf-8') as err,
    ):
      self.process = subprocess.Popen(
        [sys.executable, *map(str, argv)],
        cwd=ROOT,
        env=variables,
        stdout=out,
        stderr=err,
      )

  def __enter__(self) -> 'Child':
    return self

  def __exit__(self, *_) -> None:
    self.process.kill()
    self.process.wait()
    for path in self.folder.iterdir():
      path.unlink()
    self.folder.rmdir()

  def running(self) -> bool:
    """Whether the process has not ended."""
    return self.process.poll() is None

  def wait_until(self, condition: Callable[[], object]) -> None:
    """Returns once the condition holds or the process has ended."""
    for _ in range(int(LIMIT_SECONDS / POLL_SECONDS)):
      if condition() or not self.running():
        return
      time.sleep(POLL_SECONDS)
    raise TimeoutError(f'a child hangs: {self.read("err")}')

  def finish(self) -> Result:
    """The end of the process, good or bad."""
    code = self.process.wait(LIMIT_SECONDS)
    return Result(code, self.read('out'), self.read('err'))

  def read(self, stream: str) -> str:
    """What the process has written to 'out' or 'err' so far."""
    return (self.folder / stream).read_text()


def python(*argv, devices: int = 1) -> str:
  """What `python argv...` prints; it must succeed."""
  with Child(*argv, devices=devices) as child:
    result = child.finish()
  assert result.code == 0, result.err
  return result.out


def connected(code: str, *words, devices: int) -> list[Result]:
  """The ends of two processes of one jax.distributed launch that run `code`.

  '{place}' in a word becomes what sharding.initialise takes.
  """
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = probe.getsockname()[1]
  with contextlib.ExitStack() as stack:
    children = []
    for index in range(2):
      place = f'127.0.0.1:{port},2,{index}'
      argv = [str(word).format(place=place) for word in words]
      child = Child('-c', code, *argv, devices=devices)
      children.append(stack.enter_context(child))
    results = [child.finish() for child in children]
  for result in results:
    assert result.code == 0, result.err
  return results
