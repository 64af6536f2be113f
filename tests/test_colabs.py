"""Both notebooks run from top to bottom, and are stored without outputs."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.samples import processes

NOTEBOOKS = {
  'quickstart.ipynb': {'STEPS': '120', 'WORKDIR': "'{}/run'"},
  'your_embeddings.ipynb': {'OUTPUT': "'{}/out'"},
}


def load(name):
  return nbformat.read(f'colabs/{name}', as_version=4)


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_is_stripped_and_guides(name):
  notebook = load(name)
  nbformat.validate(notebook)
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  assert all(c.outputs == [] and c.execution_count is None for c in code)
  first = notebook.cells[0].source
  assert f'blob/main/colabs/{name}' in first and 'Runtime' in first
  assert "find_spec('mrl_jax') is None" in code[0].source  # guarded install


@pytest.mark.slow
@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch, data_dir):
  notebook = load(name)
  for cell in notebook.cells:
    if 'parameters' in cell.metadata.get('tags', []):
      for key, value in NOTEBOOKS[name].items():
        new = f'{key} = {value.replace("{}", str(tmp_path))}'
        cell.source, count = re.subn(f'(?m)^{key} = .*$', new, cell.source)
        assert count == 1
  monkeypatch.setenv('MPLBACKEND', 'module://matplotlib_inline.backend_inline')
  monkeypatch.setenv('PYTHONPATH', str(processes.ROOT))
  client = NotebookClient(
    notebook,
    timeout=processes.LIMIT_SECONDS,
    startup_timeout=processes.LIMIT_SECONDS,
    resources={'metadata': {'path': str(tmp_path)}},
  )
  client.execute()
  shown = [
    output.get('data', {})
    for cell in notebook.cells
    if cell.cell_type == 'code'
    for output in cell.outputs
  ]
  assert any('image/png' in data for data in shown)
  assert any('text/markdown' in data for data in shown)
