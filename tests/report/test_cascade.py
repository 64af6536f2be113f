"""The chapter of cascades."""

from mrl_jax.report import cascade


def test_policies_are_named_as_in_their_chart():
  names = 'paper conditional joint16 risk0.005 risk0.02 else'.split()
  assert [cascade.policy_label(name) for name in names] == [
    "the paper's thresholds",
    'thresholds on those that arrive',
    'joint search, 16 dims',
    'bounded risk, 0.5%',
    'bounded risk, 2%',
    'else',
  ]
