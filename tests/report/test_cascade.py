"""The chapter of cascades."""

from mrl_jax.report import cascade


def test_policies_are_named_as_in_their_chart():
  names = 'paper conditional joint16 risk0.005 risk0.02 else'.split()
  assert [cascade.policy_label(name) for name in names] == [
    "the paper's thresholds",
    'thresholds set one after the other',
    'thresholds set together, 16 dims',
    'few lost for sure, 0.5%',
    'few lost for sure, 2%',
    'else',
  ]
