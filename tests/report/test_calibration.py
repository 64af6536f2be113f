"""The chapter of confidence."""

from mrl_jax.report import calibration, charts, results


def test_bins_of_few_examples_are_not_drawn(monkeypatch):
  drawn = []
  monkeypatch.setattr(charts, 'draw', lambda *given: drawn.append(given[2]))

  def bins(*counts):
    return [
      {'confidence': 0.5, 'accuracy': c / 100, 'count': c} for c in counts
    ]

  details = {'dims': [8, 16], 'reliability': [bins(9, 10, 40), bins(3, 0)]}
  evaluation = results.Evaluation('run', [], {'calibration': details})
  assert list(calibration.diagram(evaluation)) == [None]
  ((line,),) = drawn
  assert line.label == '8 dimensions' and line.y == [10, 40]
