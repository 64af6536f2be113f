"""Logs that survive an interruption."""

import json
import math

from mrl_jax import journal


def test_a_resumed_writer_has_each_step_once(tmp_path):
  writer = journal.Writer(tmp_path)
  for step in (1, 2, 3):
    writer.write(step, {'loss': step})
  writer.close()
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "lo')  # a kill in the middle of a line
  writer = journal.Writer(tmp_path, step=2)
  writer.write(3, {'loss': math.nan})
  writer.close()
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  written = [json.loads(line) for line in lines]
  assert [row['step'] for row in written] == [1, 2, 3]
  assert written[-1]['loss'] == 'nan'
  assert list((tmp_path / 'tensorboard').glob('events*'))


def test_tensorboard_draws_what_is_measured_often(tmp_path, monkeypatch):
  """A value of one point is in the file and not on the board."""
  writer = journal.Writer(tmp_path)
  drawn = []
  monkeypatch.setattr(
    writer.board, 'add_scalar', lambda name, *_: drawn.append(name)
  )
  writer.write(1, {'train/loss': 1.0})
  writer.write(
    1, {'linear/top1/d8': 0.5, 'knn/top1/d8': 0.5}, ['linear/top1/d8']
  )
  writer.close()
  assert drawn == ['train/loss', 'linear/top1/d8']
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert 'knn/top1/d8' in json.loads(lines[1])
