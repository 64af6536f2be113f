"""Tokens against hand-worked ones and those of the library itself."""

import concurrent.futures
import os
import pickle

import numpy as np
import pytest
from tokenizers import Tokenizer

from mrl_jax.contracts import Input, Openable, Sized
from mrl_jax.inputs import text
from tests.samples import tokenizer

KINDS = {
  'word_piece': tokenizer.letters,
  'bpe': tokenizer.bpe,
  'unigram': tokenizer.unigram,
}
TEXTS = (
  *tokenizer.SENTENCES,
  'Ünable\tto  STALL\n',
  '日本 zzz ?!',
  'a',
  'the [SEP] wing </s>',
  'e\u0301 \x00 b',
)


@pytest.fixture(scope='module', params=KINDS)
def file(request, tmp_path_factory):
  return KINDS[request.param](tmp_path_factory.mktemp('t') / 'tokenizer.json')


def plain(path):
  """The library's tokenizer without truncation and padding."""
  it = Tokenizer.from_file(str(path))
  it.no_truncation()
  it.no_padding()
  return it


def test_a_text_by_hand(tmp_path):
  path = tokenizer.word_piece(tmp_path / 'tokenizer.json')
  field = text.Text(str(path), length=6)
  assert isinstance(field, Input) and isinstance(field, Sized)
  assert isinstance(field, Openable)
  assert field.facts == {'vocabulary': 8, 'length': 6}
  # The words are [CLS] un ##able able [SEP], lower case and without accents.
  arrays = field.evaluate('UNÁBLE able')
  np.testing.assert_array_equal(arrays['tokens'], [2, 4, 6, 5, 3, 0])
  np.testing.assert_array_equal(arrays['mask'], [1, 1, 1, 1, 1, 0])
  for name, kind in (('tokens', np.int32), ('mask', np.bool_)):
    assert arrays[name].dtype == field.shape[name].dtype == kind
    assert arrays[name].shape == field.shape[name].shape == (6,)
  np.testing.assert_array_equal(
    field.evaluate('nowhere the')['tokens'], [2, 1, 7, 3, 0, 0]
  )
  prompted = text.Text(str(path), prompt='the: ', length=6)
  np.testing.assert_array_equal(
    prompted.evaluate('un')['tokens'], [2, 7, 1, 4, 3, 0]
  )


def test_tokens_are_the_librarys_at_every_length(file):
  """Truncation keeps the special tokens at both ends."""
  known, reference = Tokenizer.from_file(str(file)), plain(file)
  special = reference.num_special_tokens_to_add(is_pair=False)
  pad = (known.padding or {'pad_id': 0})['pad_id']
  for length in range(special + 1, 40):
    field = text.Text(str(file), prompt='the ', length=length)
    for one in TEXTS:
      ids = reference.encode('the ' + one).ids
      body = reference.encode('the ' + one, add_special_tokens=False).ids
      if len(ids) > length:
        last = [ids[-1]] if special else []
        ids = ids[: special // 2] + body[: length - special] + last
      arrays = field.evaluate(one)
      padding = [pad] * (length - len(ids))
      np.testing.assert_array_equal(arrays['tokens'], ids + padding)
      assert arrays['mask'].sum() == field.size(arrays) == len(ids)
      assert arrays['mask'][: len(ids)].all()
    assert field.facts['vocabulary'] == reference.get_vocab_size()


def test_several_texts_at_once_are_the_same(file, monkeypatch):
  field = text.Text(str(file), length=32)
  texts = list(TEXTS) * 3
  monkeypatch.setattr(text, 'TOGETHER', 4)
  whole = field.evaluate_all(texts)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    single = list(pool.map(field.evaluate, texts))
  again = pickle.loads(pickle.dumps(field)).evaluate_all(texts)
  for name, array in whole.items():
    expected = np.stack([arrays[name] for arrays in single])
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(array, again[name])
  np.testing.assert_array_equal(
    field.size(whole), [field.size(arrays) for arrays in single]
  )
  assert field.cut(whole, 8)['mask'].shape == (len(texts), 8)
  none = field.evaluate_all([])
  assert none['tokens'].shape == none['mask'].shape == (0, 32)


def test_what_a_file_says_of_padding_is_not_done(tmp_path):
  """MiniLM's file pads every text to 128 tokens, and cuts there."""
  bare = tokenizer.letters(tmp_path / 'a.json')
  folder = tmp_path / 'model'
  folder.mkdir()
  padded = tokenizer.letters(folder / 'tokenizer.json', length=128)
  long = ' '.join(tokenizer.SENTENCES * 9)
  field = text.Text(str(folder))
  assert field.facts['length'] == 128
  assert text.Text(str(bare)).facts['length'] == 512
  for one in ('the wing', long):
    expected = text.Text(str(bare), length=128).evaluate(one)
    for name, array in text.Text(str(padded)).evaluate(one).items():
      np.testing.assert_array_equal(array, expected[name])
  assert field.size(field.evaluate('the wing')) == 4
  assert field.size(field.evaluate(long)) == 128
  assert text.Text(str(folder), length=200).size(field.evaluate('a')) == 3
  left = tokenizer.word_piece(tmp_path / 'l.json', length=4, direction='left')
  tokens = text.Text(str(left)).evaluate('able un the')['tokens']
  np.testing.assert_array_equal(tokens, [2, 4, 7, 3])  # the last words stay


def test_fixed_lengths(tmp_path):
  path = str(tokenizer.word_piece(tmp_path / 'tokenizer.json'))
  sizes = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448)
  assert text.Text(path).sizes == (*sizes, 512)
  assert text.Text(path, length=400).sizes == (*sizes[:-1], 400)
  assert text.Text(path, length=16).sizes == (16,)
  assert text.Text(path, length=5).sizes == (5,)
  assert text.Text(path, length=20, lengths=(4, 7)).sizes == (4, 7, 20)
  assert text.Text(path, length=7, lengths=(4, 7)).sizes == (4, 7)


@pytest.mark.parametrize(
  'options, message',
  [
    ({'tokenizer': ''}, "tokenizer='' names no file"),
    ({'tokenizer': 'no.json'}, r"'no\.json': no\.json is not there"),
    ({'tokenizer': 'tests'}, r'tests/tokenizer\.json is not there.*save_pretr'),
    ({'tokenizer': 'ruff.toml'}, r"'ruff\.toml' is not a file of the library"),
    ({'length': 2}, 'length=2 has no room .* 2 special tokens; .* least 3'),
    ({'lengths': (8, 4)}, r'lengths=\(8, 4\) must be whole numbers'),
    ({'lengths': (8, 600)}, 'from 1 to the length 512'),
    ({'lengths': (0, 8)}, 'from 1 to the length 512'),
    ({'prompt': '\ud800'}, 'has half a character'),
  ],
)
def test_wrong_options_are_named(tmp_path, options, message):
  path = tokenizer.word_piece(tmp_path / 'tokenizer.json')
  with pytest.raises(ValueError, match=message) as caught:
    text.Text(**{'tokenizer': str(path)} | options)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  'value, message',
  [
    (None, 'its text is missing; give a string'),
    (float('nan'), 'its text is missing'),
    (7, 'is of type int'),
    (b'a', 'is of type bytes'),
    (['a'], 'is of type list'),
    ('a\udc80b', r"half a character \('\\udc80', at 1\)"),
  ],
)
def test_what_is_not_a_text_is_refused(tmp_path, value, message):
  path = tokenizer.word_piece(tmp_path / 'tokenizer.json')
  field = text.Text(str(path), prompt='the ')
  for call in (field.evaluate, lambda v: field.evaluate_all(['a', v])):
    with pytest.raises(ValueError, match=message) as caught:
      call(value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('value', ['', ' \n\u3000'])
def test_an_empty_text_is_judged_but_not_learned(tmp_path, value):
  field = text.Text(str(tokenizer.word_piece(tmp_path / 'tokenizer.json')))
  assert field.size(field.evaluate(value)) == 2  # the special tokens
  with pytest.raises(ValueError, match='its text is empty'):
    field.train(value, np.random.default_rng(0))


def test_texts_without_tokens(tmp_path):
  """Only unknown words are a text; nothing at all has no token."""
  path = tokenizer.word_piece(tmp_path / 'tokenizer.json')
  field = text.Text(str(path), length=8)
  np.testing.assert_array_equal(
    field.evaluate('日本')['tokens'][:4], [2, 1, 1, 3]
  )
  assert field.size(field.evaluate('\x00')) == 2  # the special tokens
  tokenizer.changed(path, post_processor=None)
  arrays = text.Text(str(path)).evaluate('\x00')
  assert not arrays['mask'].any()
  assert field.size(field.evaluate(np.str_('un'))) == 3


@pytest.mark.parametrize('unit', ['the wing ', 'x', '日本'])
def test_a_text_of_a_megabyte(tmp_path, unit):
  field = text.Text(str(tokenizer.letters(tmp_path / 't.json')), length=64)
  arrays = field.evaluate(unit * (1_000_000 // len(unit.encode())))
  assert 3 <= field.size(arrays) <= 64


def test_real_texts_of_minilm():
  """Against the library; and its ids of a sentence that BERT made known."""
  if not os.environ.get('MRL_JAX_MINILM'):
    pytest.skip('MRL_JAX_MINILM names no folder')
  field = text.Text(os.environ['MRL_JAX_MINILM'])
  assert field.facts == {'vocabulary': 30522, 'length': 128}
  arrays = field.evaluate('Hello, world!')
  np.testing.assert_array_equal(
    arrays['tokens'][:7], [101, 7592, 1010, 2088, 999, 102, 0]
  )
