"""Small tokenizers of the three usual kinds, as files come with models."""

import json
from pathlib import Path

SENTENCES = (
  'the wind over the wing is slower than the wind under the wing',
  'a wing in a slow wind stalls, and the pilot hears the stall',
  'pilots of slow planes hear the wind; pilots of fast planes do not',
  'unable to stall, the fast plane is able to turn and to land slowly',
)
WORDS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', 'un', 'able', '##able', 'the')


def word_piece(
  path: Path, words=WORDS, length: int = 0, direction: str = 'right'
) -> Path:
  """A WordPiece file like BERT's; with a `length` it truncates and pads to it.

  `words` are its vocabulary.
  """
  from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
  from tokenizers.processors import TemplateProcessing

  numbers = {word: i for i, word in enumerate(words)}
  made = Tokenizer(models.WordPiece(numbers, unk_token='[UNK]'))
  made.normalizer = normalizers.BertNormalizer()
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.add_special_tokens([w for w in words if w.startswith('[')])
  made.post_processor = TemplateProcessing(
    single='[CLS] $A [SEP]', special_tokens=[('[CLS]', 2), ('[SEP]', 3)]
  )
  if length:
    made.enable_truncation(length, direction=direction)
    made.enable_padding(length=length, pad_id=0, pad_token='[PAD]')
  made.save(str(path))
  return path


def letters(path: Path, length: int = 0) -> Path:
  """WordPiece of words of the sentences, and of single letters."""
  said = sorted({w.strip(',;') for s in SENTENCES for w in s.split()})
  alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789'
  pieces = [f'##{letter}' for letter in alphabet]
  words = dict.fromkeys([*WORDS, *said, *alphabet, *pieces])
  return word_piece(path, tuple(words), length)


def bpe(path: Path) -> Path:
  """Byte-level BPE like RoBERTa's: <s> before, </s> behind, padding 1."""
  from tokenizers import Tokenizer, models, pre_tokenizers, trainers
  from tokenizers.processors import RobertaProcessing

  made = Tokenizer(models.BPE(unk_token='<unk>'))
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  trainer = trainers.BpeTrainer(
    vocab_size=400,
    special_tokens=['<s>', '<pad>', '</s>', '<unk>'],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  made.train_from_iterator(SENTENCES, trainer)
  made.post_processor = RobertaProcessing(('</s>', 2), ('<s>', 0))
  made.enable_padding(pad_id=1, pad_token='<pad>')
  made.save(str(path))
  return path


def unigram(path: Path) -> Path:
  """Unigram like XLM-R's, with its prefix mark and NFKC; no special tokens."""
  from tokenizers import (
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
  )

  made = Tokenizer(models.Unigram())
  made.normalizer = normalizers.NFKC()
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  trainer = trainers.UnigramTrainer(
    vocab_size=80,
    special_tokens=['<unk>'],
    unk_token='<unk>',
    show_progress=False,
  )
  made.train_from_iterator(SENTENCES, trainer)
  made.save(str(path))
  return path


def changed(path: Path, **parts) -> Path:
  """The file with other values of top keys, under the same path."""
  whole = json.loads(path.read_text(encoding='utf-8'))
  path.write_text(json.dumps(whole | parts), encoding='utf-8')
  return path
