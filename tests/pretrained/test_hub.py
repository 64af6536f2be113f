"""hf:OWNER/NAME without the hub: a cache, servers of the test, no network."""

import http.server
import socket
import threading

import pytest

from mrl_jax import pretrained
from mrl_jax.errors import UsageError
from mrl_jax.pretrained import hub
from tests.samples import foreign

COMMIT = 'a' * 40


@pytest.fixture
def constants(monkeypatch, tmp_path):
  """The settings of huggingface_hub: a cache of the test, and no way out."""
  constants = pytest.importorskip('huggingface_hub.constants')
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
  set_server(monkeypatch, constants, unused_port())
  return constants


def set_server(monkeypatch, constants, port):
  address = f'http://127.0.0.1:{port}'
  monkeypatch.setattr(constants, 'ENDPOINT', address)
  template = address + '/{repo_id}/resolve/{revision}/{filename}'
  monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)


def unused_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def cached(tmp_path, revision='main'):
  """A model in the cache, as huggingface_hub lays it out."""
  place = tmp_path / 'cache' / 'models--owner--name'
  folder = place / 'snapshots' / COMMIT
  folder.mkdir(parents=True)
  (place / 'refs').mkdir()
  (place / 'refs' / revision).write_text(COMMIT)
  return foreign.write_bert(folder)


def test_the_local_cache_is_used_without_a_word(constants, tmp_path, capsys):
  folder = cached(tmp_path)
  model = pretrained.read('hf:owner/name')
  assert model.config == pretrained.read(folder).config
  assert pretrained.read(f'hf:owner/name@{COMMIT}').config == model.config
  assert 'downloading' not in capsys.readouterr().out
  encoder, _ = foreign.encoder_of('hf:owner/name')
  assert encoder.width == 8


def test_another_revision_is_not_the_one_in_the_cache(constants, tmp_path):
  cached(tmp_path, 'v2')
  assert pretrained.read('hf:owner/name@v2').config['encoder']['width'] == 8
  with pytest.raises(UsageError, match='cannot be downloaded'):
    pretrained.read('hf:owner/name')


def test_half_a_model_in_the_cache_is_downloaded_again(constants, tmp_path):
  (cached(tmp_path) / 'tokenizer.json').unlink()
  with pytest.raises(UsageError, match='cannot be downloaded'):
    pretrained.read('hf:owner/name')


def test_no_network(constants, capsys):
  with pytest.raises(UsageError, match='check the network') as error:
    pretrained.read('hf:owner/name')
  assert '\n' not in str(error.value)
  assert capsys.readouterr().out.startswith('hf:owner/name: downloading')


def test_offline(constants, monkeypatch, tmp_path):
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  with pytest.raises(UsageError, match='HF_HUB_OFFLINE is set'):
    pretrained.read('hf:owner/name')
  cached(tmp_path)
  assert pretrained.read('hf:owner/name').config['encoder']['width'] == 8


def test_a_server_that_does_not_answer(constants, monkeypatch):
  monkeypatch.setattr(hub, 'TIMEOUT_SECONDS', 0.1)
  with socket.create_server(('127.0.0.1', 0)) as server:
    set_server(monkeypatch, constants, server.getsockname()[1])
    with pytest.raises(UsageError, match=r'cannot be downloaded \(.*Timeout'):
      pretrained.read('hf:owner/name')


@pytest.mark.parametrize(
  ('status', 'code', 'said'),
  [
    (404, 'RepoNotFound', 'no such model, or it is private'),
    (404, 'RevisionNotFound', 'has no such revision'),
    (403, 'GatedRepo', 'is gated'),
    (401, '', 'no such model, or it is private'),
    (400, '', 'cannot be downloaded'),
  ],
)
def test_answers_of_the_hub(constants, monkeypatch, status, code, said):
  class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      self.send_response(status)
      self.send_header('X-Error-Code', code)
      self.send_header('Content-Length', '0')
      self.end_headers()

    def log_message(self, *words):
      pass

  with http.server.HTTPServer(('127.0.0.1', 0), Answer) as server:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    set_server(monkeypatch, constants, server.server_address[1])
    try:
      with pytest.raises(UsageError, match=f'hf:owner/name: .*{said}') as error:
        pretrained.read('hf:owner/name')
    finally:
      server.shutdown()
      thread.join()
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'name', ['hf:', 'hf:a', 'hf:a/b/c', 'hf:a/b@', 'hf:a b']
)
def test_what_is_not_a_name(name):
  with pytest.raises(UsageError, match='must be hf:OWNER/NAME'):
    pretrained.read(name)


def test_without_the_package(monkeypatch):
  monkeypatch.setitem(__import__('sys').modules, 'huggingface_hub', None)
  with pytest.raises(UsageError, match=r'pip install "mrl_jax\[hub\]"'):
    pretrained.read('hf:owner/name')


def test_no_pickle_is_asked_for(tmp_path):
  pytest.importorskip('huggingface_hub')
  from huggingface_hub.utils import filter_repo_objects

  there = [
    'pytorch_model.bin',
    'model.safetensors',
    'model-00001-of-00002.safetensors',
    'model.safetensors.index.json',
    'onnx/model.safetensors',
    'openvino/openvino_model.bin',
    'tokenizer.json',
    'config.json',
    '1_Pooling/config.json',
    '0_StaticEmbedding/model.safetensors',
    '0_StaticEmbedding/tokenizer.json',
    '0_Transformer/pytorch_model.bin',
    'README.md',
  ]
  asked = filter_repo_objects(there, allow_patterns=list(hub.PATTERNS))
  left = set(there) - set(asked)
  assert left == {
    'pytorch_model.bin',
    'onnx/model.safetensors',
    'openvino/openvino_model.bin',
    '0_Transformer/pytorch_model.bin',
    'README.md',
  }
