"""Evaluators run and their results written: of a state, a checkpoint, files."""

import json
import time
from pathlib import Path

import jax

from mrl_jax import environment, errors, progress, remarks, rows
from mrl_jax.embed import export
from mrl_jax.report import compare as comparison
from mrl_jax.report import page, results, tables
from mrl_jax.state import TrainState

SLOW_SECONDS = 10  # evaluators that take longer are named with their time


def of_state(
  run, state, step: int, writer=None, last: bool = False, kept: bool = False
) -> dict[str, float]:
  """Evaluates a run's state at a step; returns the results by flat name.

  Unless `last`, or the last step, only the evaluators of `eval.often` run.
  With `kept`, earlier results of evaluators that do not run stay.
  """
  chosen = {
    name: evaluator
    for name, evaluator in run.evaluators.items()
    if last or step >= run.cadence.steps or name in run.often
  }
  results, details = look(chosen, run.evidence(state.best))
  results = [{**row, 'step': step} for row in results]
  values = {rows.flat_name(row): row['value'] for row in results}
  if jax.process_index() == 0 and (results or details):
    details['evaluation'] = around(run.options, results, details)
    folder = run.workdir / 'eval' / str(step)
    if kept:
      results, details = beside(folder, results, details)
    publish(folder, run.workdir, results, details, f'{step:,}')
    if writer is not None:
      writer.write(step, values)
  return values


def of_checkpoint(run, step: int | None = None) -> dict[str, float]:
  """Evaluates a saved step, the newest by default, as training would.

  Raises:
    CheckpointError: if the step is missing or damaged.
  """
  state, step = saved_state(run, step)
  return of_state(run, state, step, last=True, kept=True)


def of_vectors(frozen) -> dict[str, float]:
  """Evaluates embeddings from files (foreign.Frozen) into their folder."""
  folder = frozen.folder
  if (folder / 'config.json').exists():
    raise errors.UsageError(
      f'--output={folder} is the workdir of a training run; name another folder'
    )
  seen = frozen.evidence
  results, details = look(frozen.evaluators, seen)
  if not results:
    raise errors.UsageError(
      'nothing to evaluate: '
      + '; '.join(
        f'{name} needs {" and ".join(kind.needs)}'
        for name, kind in frozen.evaluators.items()
      )
    )
  notes = remarks.of(seen.database, seen.queries, seen.dims)
  details['evaluation'] = around(frozen.options, results, details, notes)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UsageError(
      f'--output={folder} cannot be written: {error}'
    ) from error
  if jax.process_index() == 0:
    publish(folder / 'eval' / '0', folder, results, details, '')
  return {rows.flat_name(row): row['value'] for row in results}


def look(evaluators, evidence) -> tuple[list[dict], dict[str, dict]]:
  """(rows, details by evaluator) of every evaluator whose needs are met."""
  rows, details = [], {}
  for name, evaluator in evaluators.items():
    if not evidence.has(*evaluator.needs):
      continue
    started = time.perf_counter()
    found, more = evaluator.run(evidence)
    if (seconds := time.perf_counter() - started) > SLOW_SECONDS:
      progress.say(f'{name} evaluated in {progress.duration(seconds)}')
    rows += [
      {**row, 'trained': row['dim'] in evidence.trained} for row in found
    ]
    if more:
      details[name] = more
  return rows, details


def around(options, rows, details, notes=()) -> dict:
  """Under which options and where the evaluators of some results ran."""
  ran = {row['evaluator'] for row in rows} | set(details)
  options = {name: options[name] for name in sorted(ran)}
  return {
    'notes': list(notes),
    'options': json.loads(json.dumps(options)),
    'environment': environment.describe(),
  }


def beside(folder: Path, rows: list, details: dict) -> tuple[list, dict]:
  """Rows and details with those of other evaluators in the folder."""
  if not (folder / 'results.jsonl').exists():
    return rows, details
  ran = {row['evaluator'] for row in rows} | set(details)
  old = [r for r in results.read(folder) if r['evaluator'] not in ran]
  before = results.details(folder)
  more = {k: v for k, v in before.items() if k not in ran}
  options = before.get('evaluation', {}).get('options', {})
  now = details['evaluation']
  now = now | {'options': options | now['options']}
  return rows + old, more | details | {'evaluation': now}


def publish(
  folder: Path, workdir: Path, rows: list, details: dict, step: str
) -> None:
  """Writes results, curves, pictures and the page; prints the table."""
  results.write(folder, rows, details)
  report = page.write(folder, workdir)
  title = f'step {step}, %' if step else '%'
  said = details.get('precision', {}).get('recommendation', {}).get('text', '')
  print(f'\n{title}, with 95% intervals\n{tables.text(rows, said)}')
  for note in details.get('evaluation', {}).get('notes', ()):
    print(f'note: {note}')
  print(f'report: {report}\n', flush=True)


def saved_state(run, step: int | None) -> tuple:
  checkpointer = run.checkpointer(read_only=True)
  step = checkpointer.newest() if step is None else step
  if step is None:
    raise errors.UsageError(f'{run.workdir} has no checkpoint yet')
  tree, _ = checkpointer.restore(step, run.learner.placed.to_tree())
  checkpointer.close()
  return TrainState.from_tree(tree), step


def exported(run, step: int | None, folder: str, dtype: str) -> int:
  """Writes the embeddings of a run's splits; goes on where it stopped."""
  state, step = saved_state(run, step)
  seen = run.evidence(state.best)
  meta = {
    'workdir': str(run.workdir),
    'step': step,
    'dims': list(run.learner.task.dims),
  }
  with_sizes = {name: run.feed.size(name) for name in ('train', 'validation')}
  try:
    export.run(
      seen.functions['embed'], with_sizes, folder, meta, seen.names, dtype
    )
  except (ValueError, OSError) as error:
    raise errors.UsageError(f'--export={folder}: {error}') from error
  return 0


def compare(workdirs: list[str], output: str | None, seeds: bool) -> int:
  """Sets evaluated runs side by side in one page; `seeds` are averaged."""
  folder = Path(output or 'runs/compare')
  try:
    page = comparison.write(workdirs, folder, group_seeds=seeds)
  except (ValueError, OSError) as error:
    raise errors.UsageError(f'--compare: {error}') from error
  print(f'report: {page}')
  return 0
