"""Our names of parameters and those of others: one table per family.

`{}` stands for the number of a block. Each of our parameters finds exactly
one tensor; each tensor is used, or is on the list of those that an embedding
does not need.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mrl_jax.errors import UsageError
from mrl_jax.pretrained.tensors import DTYPES

Shape = tuple[int, ...]
SHOWN = 4


class Conversion(NamedTuple):
  """How a tensor of others becomes a parameter of ours.

  Attributes:
    shape: of theirs, from that of ours.
    convert: their numbers to ours, given our shape.
  """

  shape: Callable[[Shape], Shape]
  convert: Callable[[np.ndarray, Shape], np.ndarray]


def _turned(array: np.ndarray, shape: Shape) -> np.ndarray:
  return array.T.reshape(shape)


SAME = Conversion(lambda s: s, lambda array, shape: array)
# Linear layers of torch are [out, in]; ours are [in, out].
LINEAR = Conversion(lambda s: (s[1], s[0]), _turned)
# Of attention ours know the heads: [in, heads, size] and [heads, size]. Of
# several layers in one they know the layers: [in, 3, heads, size].
SPLIT = Conversion(lambda s: (math.prod(s[1:]), s[0]), _turned)
SPLIT_BIAS = Conversion(
  lambda s: (s[0] * s[1],), lambda array, shape: array.reshape(shape)
)
JOINED = Conversion(lambda s: (s[2], s[0] * s[1]), _turned)

_SELF, _MIX = (
  f'encoder.layer.{{}}.attention.{part}' for part in ('self', 'output')
)
BERT = {
  'tokens/embedding': ('embeddings.word_embeddings.weight', SAME),
  'positions/embedding': ('embeddings.position_embeddings.weight', SAME),
  'types/embedding': ('embeddings.token_type_embeddings.weight', SAME),
  'norm/scale': ('embeddings.LayerNorm.weight', SAME),
  'norm/bias': ('embeddings.LayerNorm.bias', SAME),
  'layers/{}/attention/query/kernel': (f'{_SELF}.query.weight', SPLIT),
  'layers/{}/attention/query/bias': (f'{_SELF}.query.bias', SPLIT_BIAS),
  'layers/{}/attention/key/kernel': (f'{_SELF}.key.weight', SPLIT),
  'layers/{}/attention/key/bias': (f'{_SELF}.key.bias', SPLIT_BIAS),
  'layers/{}/attention/value/kernel': (f'{_SELF}.value.weight', SPLIT),
  'layers/{}/attention/value/bias': (f'{_SELF}.value.bias', SPLIT_BIAS),
  'layers/{}/attention/out/kernel': (f'{_MIX}.dense.weight', JOINED),
  'layers/{}/attention/out/bias': (f'{_MIX}.dense.bias', SAME),
  'layers/{}/norm1/scale': (f'{_MIX}.LayerNorm.weight', SAME),
  'layers/{}/norm1/bias': (f'{_MIX}.LayerNorm.bias', SAME),
  'layers/{}/mlp/up/kernel': (
    'encoder.layer.{}.intermediate.dense.weight',
    LINEAR,
  ),
  'layers/{}/mlp/up/bias': ('encoder.layer.{}.intermediate.dense.bias', SAME),
  'layers/{}/mlp/down/kernel': ('encoder.layer.{}.output.dense.weight', LINEAR),
  'layers/{}/mlp/down/bias': ('encoder.layer.{}.output.dense.bias', SAME),
  'layers/{}/norm2/scale': ('encoder.layer.{}.output.LayerNorm.weight', SAME),
  'layers/{}/norm2/bias': ('encoder.layer.{}.output.LayerNorm.bias', SAME),
}
MODERNBERT = {
  'tokens/embedding': ('embeddings.tok_embeddings.weight', SAME),
  'entry_norm/scale': ('embeddings.norm.weight', SAME),
  'layers/{}/norm1/scale': ('layers.{}.attn_norm.weight', SAME),
  'layers/{}/attention/qkv/kernel': ('layers.{}.attn.Wqkv.weight', SPLIT),
  'layers/{}/attention/out/kernel': ('layers.{}.attn.Wo.weight', JOINED),
  'layers/{}/norm2/scale': ('layers.{}.mlp_norm.weight', SAME),
  'layers/{}/mlp/up/kernel': ('layers.{}.mlp.Wi.weight', SPLIT),
  'layers/{}/mlp/down/kernel': ('layers.{}.mlp.Wo.weight', LINEAR),
  'norm/scale': ('final_norm.weight', SAME),
}
QWEN3 = {
  'tokens/embedding': ('embed_tokens.weight', SAME),
  'layers/{}/norm1/scale': ('layers.{}.input_layernorm.weight', SAME),
  'layers/{}/attention/query/kernel': (
    'layers.{}.self_attn.q_proj.weight',
    SPLIT,
  ),
  'layers/{}/attention/key/kernel': (
    'layers.{}.self_attn.k_proj.weight',
    SPLIT,
  ),
  'layers/{}/attention/value/kernel': (
    'layers.{}.self_attn.v_proj.weight',
    SPLIT,
  ),
  'layers/{}/attention/query_norm/scale': (
    'layers.{}.self_attn.q_norm.weight',
    SAME,
  ),
  'layers/{}/attention/key_norm/scale': (
    'layers.{}.self_attn.k_norm.weight',
    SAME,
  ),
  'layers/{}/attention/out/kernel': (
    'layers.{}.self_attn.o_proj.weight',
    JOINED,
  ),
  'layers/{}/norm2/scale': ('layers.{}.post_attention_layernorm.weight', SAME),
  'layers/{}/mlp/gate/kernel': ('layers.{}.mlp.gate_proj.weight', LINEAR),
  'layers/{}/mlp/up/kernel': ('layers.{}.mlp.up_proj.weight', LINEAR),
  'layers/{}/mlp/down/kernel': ('layers.{}.mlp.down_proj.weight', LINEAR),
  'norm/scale': ('norm.weight', SAME),
}
STATIC = {'tokens/embedding': ('embedding.weight', SAME)}
TABLES = {
  'bert': BERT,
  'modernbert': MODERNBERT,
  'qwen3': QWEN3,
  'static': STATIC,
}

# What stands before the names, as whole models and older files write them.
PREFIXES = r'^(0\.auto_model\.|0\.model\.|auto_model\.|module\.|0\.)?'
PREFIXES += r'(bert\.|roberta\.|xlm_roberta\.|camembert\.|model\.)?'
# Other names of the same tensors.
SYNONYMS = (
  (r'LayerNorm\.gamma$', 'LayerNorm.weight'),
  (r'LayerNorm\.beta$', 'LayerNorm.bias'),
)
# Tensors that an embedding does not need: buffers and heads.
EXTRAS = (
  r'embeddings\.(position_ids|token_type_ids)',
  r'head\.(dense|norm)\..*|decoder\.(weight|bias)',
  r'(pooler|cls|lm_head|classifier|qa_outputs)\..*',
)


def match_tensors(
  where: str, family: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> dict[str, tuple[Any, Conversion]]:
  """{name of ours: (the tensor it is made of, how)}.

  Args:
    where: the file or folder, for the error.
    theirs: tensors by name; they have a shape and a dtype, and can be read.
    ours: parameters by name; they have a shape.

  Raises:
    UsageError: in one line, for all that is missing, unknown, there twice, of
      another shape or of a type that is not read.
  """
  named: dict[str, list[str]] = {}
  for name in theirs:
    named.setdefault(_common_name(name), []).append(name)
  faults, plan = [], {}
  for name, leaf in ours.items():
    foreign, kind = _row(family, name)
    there = named.pop(foreign, [])
    expected = kind.shape(tuple(leaf.shape))
    if fault := _fault(foreign, there, theirs, expected):
      faults.append(fault)
    else:
      plan[name] = theirs[there[0]], kind
  faults += [
    f'{names[0]} {theirs[names[0]].shape} has no place here'
    for name, names in named.items()
    if not re.fullmatch('|'.join(EXTRAS), name)
  ]
  if faults:
    shown = '; '.join(faults[:SHOWN]) + ('; ...' if faults[SHOWN:] else '')
    raise UsageError(
      f'{where} does not fit a {family} encoder of its sizes, {len(faults)} '
      f'tensors differ: {shown}'
    )
  return plan


def _common_name(name: str) -> str:
  """The name of a tensor without what versions and heads add to it."""
  name = re.sub(PREFIXES, '', name)
  for pattern, replacement in SYNONYMS:
    name = re.sub(pattern, replacement, name)
  return name


def _row(family: str, name: str) -> tuple[str, Conversion]:
  """The row of a table, its number of the block filled in."""
  foreign, kind = TABLES[family][re.sub(r'/\d+/', '/{}/', name)]
  number = re.search(r'/(\d+)/', name)
  return foreign.format(number[1] if number else ''), kind


def _fault(
  name: str, there: Sequence[str], theirs: Mapping, expected: Shape
) -> str:
  """What is wrong with the tensors of a name, '' if there is one that fits."""
  if not there:
    return f'{name} {expected} is missing'
  if len(there) > 1:
    return f'{" and ".join(there)} are the same tensor'
  tensor = theirs[there[0]]
  if tensor.dtype not in DTYPES:
    return f'{there[0]} is {tensor.dtype}, which is not read'
  if tensor.shape != expected:
    return f'{there[0]} is {tensor.shape}, expected {expected}'
  return ''
