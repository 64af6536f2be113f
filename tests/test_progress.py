"""What a person sees of a running training."""

from mrl_jax import progress
from mrl_jax.progress import Counter, Progress, duration


def test_progress_lines(capsys):
  watch = Progress(0, 10, 4, shown=True)
  watch.resume()
  speed = watch.report(5, 1.25)
  line = capsys.readouterr().out
  assert line.startswith('step') and line.endswith('left\n')
  assert '5/10' in line and '1.2500' in line
  assert speed['examples_per_second'] > 0
  Progress(0, 10, 4, shown=False).report(5, 1.0)
  assert capsys.readouterr().out == ''


def test_durations():
  assert [duration(s) for s in (9, 65, 7600)] == ['9s', '1m05s', '2h06m']


def test_long_jobs_tell_how_far_they_are(capsys, monkeypatch):
  now = iter([0, 4, 12, 15, 23, 24])
  monkeypatch.setattr(progress.time, 'perf_counter', lambda: next(now))
  counter = Counter(3000, 'rows')
  for done in (400, 1200, 1500, 2300, 3000):
    counter.tell(done)
  lines = [x.strip() for x in capsys.readouterr().out.splitlines()]
  assert lines == [
    '1,200/3,000 rows  100/s  18s left',
    '2,300/3,000 rows  100/s  7s left',
    '3,000/3,000 rows  125/s  0s left',
  ]
  now = iter([0, 4, 9])
  counter = Counter(2, 'rows')
  counter.tell(1)
  counter.tell(2)
  assert capsys.readouterr().out == ''
