"""Runs evaluators on a state, a checkpoint or files, and writes the results."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import jax

from mrl_jax import environment, errors, progress, remarks, rows
from mrl_jax.contracts import Evaluator
from mrl_jax.embed import export
from mrl_jax.embed.evidence import Evidence
from mrl_jax.report import compare as comparison
from mrl_jax.report import headline, page, tables
from mrl_jax.report import results as files
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
  results, details = run_all(chosen, run.evidence(state.best))
  results = [{**row, 'step': step} for row in results]
  values = {rows.flat_name(row): row['value'] for row in results}
  if jax.process_index() == 0 and (results or details):
    details['evaluation'] = _conditions(run.options, results, details)
    folder = run.workdir / 'eval' / str(step)
    if kept:
      results, details = _joined(folder, results, details)
    publish(folder, run.workdir, results, details, f'{step:,}')
    if writer is not None:
      drawn = [
        rows.flat_name(row) for row in results if row['evaluator'] in run.often
      ]
      writer.write(step, values, drawn)
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
  evidence = frozen.evidence
  results, details = run_all(frozen.evaluators, evidence)
  if not results:
    raise errors.UsageError(
      'nothing to evaluate: '
      + '; '.join(
        f'{name} needs {" and ".join(kind.needs)}'
        for name, kind in frozen.evaluators.items()
      )
    )
  notes = remarks.of(evidence.database, evidence.queries, evidence.dims)
  details['evaluation'] = _conditions(frozen.options, results, details, notes)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UsageError(
      f'--output={folder} cannot be written: {error}'
    ) from error
  if jax.process_index() == 0:
    publish(folder / 'eval' / '0', folder, results, details, '')
  return {rows.flat_name(row): row['value'] for row in results}


def run_all(
  evaluators: Mapping[str, Evaluator], evidence: Evidence
) -> tuple[list[rows.Row], dict[str, dict]]:
  """(result rows, details by evaluator) of all whose needs are met."""
  results: list[rows.Row] = []
  details = {}
  for name, evaluator in evaluators.items():
    if not evidence.has(*evaluator.needs):
      continue
    started = time.perf_counter()
    answers, more = evaluator.run(evidence)
    if (seconds := time.perf_counter() - started) > SLOW_SECONDS:
      progress.say(f'{name} evaluated in {progress.duration(seconds)}')
    for row in answers:
      row['trained'] = row['dim'] in evidence.trained
      results.append(row)
    if more:
      details[name] = more
  return results, details


def _conditions(options, results, details, notes=()) -> dict:
  """Under which options and where the evaluators of some results ran."""
  options = {name: options[name] for name in sorted(_ran(results, details))}
  return {
    'notes': list(notes),
    'options': json.loads(json.dumps(options)),
    'environment': environment.describe(),
  }


def _ran(results, details) -> set[str]:
  return {row['evaluator'] for row in results} | set(details)


def _joined(folder: Path, results: list, details: dict) -> tuple[list, dict]:
  """Results and details with those of other evaluators in the folder."""
  if not (folder / 'results.jsonl').exists():
    return results, details
  ran = _ran(results, details)
  kept = [row for row in files.read(folder) if row['evaluator'] not in ran]
  before = files.details(folder)
  more = {name: value for name, value in before.items() if name not in ran}
  options = before.get('evaluation', {}).get('options', {})
  now = details['evaluation']
  now = now | {'options': options | now['options']}
  return results + kept, more | details | {'evaluation': now}


def publish(
  folder: Path, workdir: Path, results: list, details: dict, step: str
) -> None:
  """Writes results, curves, pictures and the page; prints the table."""
  files.write(folder, results, details)
  report = page.write(folder, workdir)
  title = f'step {step}, %' if step else '%'
  advice = details.get('stores', {}).get('decision', {}).get('text', '')
  if undecided := headline.undecided(results):
    print(f'\nnote: {undecided}')
    advice = ''
  print(f'\n{title}, with 95% intervals\n{tables.text(results, advice)}')
  for note in details.get('evaluation', {}).get('notes', ()):
    print(f'note: {note}')
  print(f'report: {report}\n', flush=True)


def saved_state(run, step: int | None) -> tuple[TrainState, int]:
  """(state, step) of a saved step, the newest by default."""
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
  evidence = run.evidence(state.best)
  meta = {
    'workdir': str(run.workdir),
    'step': step,
    'dims': list(run.learner.task.dims),
  }
  sizes = {name: run.feed.size(name) for name in ('train', 'validation')}
  try:
    export.run(
      evidence.functions['embed'], sizes, folder, meta, evidence.names, dtype
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
