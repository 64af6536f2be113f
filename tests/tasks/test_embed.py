"""A task that embeds and learns nothing."""

import jax
import numpy as np
import pytest

from mrl_jax.contracts import Spec
from mrl_jax.errors import UsageError
from mrl_jax.tasks import embed
from tests.samples import pieces

WORDS = pieces.VOCABULARY


def make(dims=(4, 16), fields=('text',), **options):
  tokens = {field: pieces.Tokens(vocabulary=WORDS) for field in fields}

  def encoder(**more):
    return pieces.Table(16, **more)

  return embed.Embed(Spec(tokens, (), encoder), dims, (1.0,) * 2, **options)


def test_it_embeds_the_first_field_or_the_one_that_is_named():
  task = make(fields=('text', 'query'))
  variables = task.init(jax.random.key(0))
  assert set(variables.params) == {'encoder'}
  arrays = task.input.evaluate('sea0 sky1')
  batch = jax.tree.map(lambda x: x[None], {'text': arrays})
  (embedding,) = task.functions()['embed'](variables, batch)
  encoder = task.parts['encoder'].module(variables.part('encoder'))
  np.testing.assert_array_equal(embedding, encoder(batch['text'])[0])
  assert make(fields=('text', 'query'), field='query').field == 'query'


def test_it_does_not_learn():
  task = make()
  assert set(task.functions()) == {'embed'}
  with pytest.raises(UsageError, match='learns nothing; .* such as classify'):
    task.loss(task.init(jax.random.key(0)), {}, jax.random.key(1))


def test_dims_end_at_the_width():
  with pytest.raises(ValueError, match='must increase and end at the width 16'):
    make(dims=(4, 8))
  with pytest.raises(ValueError, match="field='title' is not one of"):
    make(field='title')
