"""What a person sees of a running training."""

from mrl_jax.progress import Progress, duration


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
