"""Safetensors files: every type, several files, and files that are damaged."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from mrl_jax.errors import UsageError
from mrl_jax.pretrained import tensors as files
from tests.samples import foreign

NUMBERS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def write(path, tensors):
  """A file with the header and the bytes of any arrays."""
  header, body = {'__metadata__': {'format': 'pt'}}, b''
  names = {np.dtype(kind): name for name, kind in files.DTYPES.items()}
  for name, array in tensors.items():
    start, body = len(body), body + array.tobytes()
    header[name] = {
      'dtype': names[array.dtype],
      'shape': array.shape,
      'data_offsets': [start, len(body)],
    }
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + body)
  return path


@pytest.mark.parametrize('kind', files.DTYPES.values())
def test_every_type_is_read(tmp_path, kind):
  array = NUMBERS.astype(kind)
  path = write(tmp_path / 'a.safetensors', {'x': array[:1], 'y': array})
  there = files.tensors(path)
  assert there['y'].shape == (3, 4)
  np.testing.assert_array_equal(there['y'].read(), array)
  np.testing.assert_array_equal(there['x'].read(), array[:1])


def test_files_of_the_library_are_read(tmp_path):
  save_file({'x': NUMBERS, 'none': NUMBERS[:0]}, tmp_path / 'a.safetensors')
  there = files.tensors(tmp_path / 'a.safetensors')
  np.testing.assert_array_equal(there['x'].read(), NUMBERS)
  assert there['none'].read().shape == (0, 4)


@pytest.mark.parametrize('kind', [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32_exactly(tmp_path, kind):
  halves = {
    name: array.astype(kind)
    for name, array in foreign.bert_tensors(foreign.BERT).items()
  }
  whole = {name: array.astype(np.float32) for name, array in halves.items()}
  for name, tensors in (('half', halves), ('whole', whole)):
    (tmp_path / name).mkdir()
    foreign.write_bert(tmp_path / name, tensors={'x': NUMBERS})
    write(tmp_path / name / 'model.safetensors', tensors)
  a, _ = foreign.encoder_of(tmp_path / 'half')
  b, _ = foreign.encoder_of(tmp_path / 'whole')
  kernel = a.layers[1].attention.out.kernel[...]
  assert kernel.dtype == np.float32
  np.testing.assert_array_equal(kernel, b.layers[1].attention.out.kernel[...])


def split(folder, tensors):
  """Two files and their index."""
  names = sorted(tensors)
  places = {}
  for i, some in enumerate((names[::2], names[1::2])):
    file = f'model-{i + 1:05}-of-00002.safetensors'
    save_file({name: tensors[name] for name in some}, folder / file)
    places |= dict.fromkeys(some, file)
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'metadata': {}, 'weight_map': places}))
  return index


def test_several_files_are_one_model(tmp_path):
  tensors = foreign.bert_tensors(foreign.BERT)
  foreign.write_bert(tmp_path, tensors=tensors)
  whole, _ = foreign.encoder_of(tmp_path)
  (tmp_path / 'model.safetensors').unlink()
  split(tmp_path, tensors)
  several, _ = foreign.encoder_of(tmp_path)
  np.testing.assert_array_equal(
    whole.layers[1].mlp.up.kernel[...], several.layers[1].mlp.up.kernel[...]
  )


def test_a_missing_file_and_a_missing_tensor_are_named(tmp_path):
  index = split(tmp_path, {'x': NUMBERS, 'y': NUMBERS})
  (tmp_path / 'model-00002-of-00002.safetensors').unlink()
  with pytest.raises(UsageError, match='2 files and 1 are .*model-00002'):
    files.tensors(index)
  index = split(tmp_path, {'x': NUMBERS, 'y': NUMBERS})
  places = json.loads(index.read_text())
  places['weight_map']['z'] = 'model-00001-of-00002.safetensors'
  index.write_text(json.dumps(places))
  with pytest.raises(UsageError, match='1 tensors .* do not have: z'):
    files.tensors(index)
  index.write_text('{}')
  with pytest.raises(UsageError, match='index.json cannot be read'):
    files.tensors(index)


@pytest.mark.parametrize('kept', [0, 4, 30, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kept):
  path = write(tmp_path / 'a.safetensors', {'x': NUMBERS})
  path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(UsageError, match=r'a\.safetensors .*cut off'):
    files.tensors(path)


def test_a_header_that_contradicts_itself_is_refused(tmp_path):
  path = write(tmp_path / 'a.safetensors', {'x': NUMBERS})
  path.write_bytes(path.read_bytes().replace(b'[3, 4]', b'[3, 5]'))
  with pytest.raises(UsageError, match='x has 48 bytes, not 60'):
    files.tensors(path)
  path.write_bytes(b'\x80\x02}q\x00.' * 40)
  with pytest.raises(UsageError, match='not a safetensors file'):
    files.tensors(path)


@pytest.mark.parametrize('name', ['model.bin', 'a.pt', 'a.pkl', 'a.ckpt'])
def test_a_pickle_is_refused_before_it_is_opened(tmp_path, name):
  with pytest.raises(UsageError, match=f'{name} is a pickle.*save_pretrained'):
    files.tensors(tmp_path / name)
