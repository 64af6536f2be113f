"""Runs evaluators on a state, a checkpoint or files, and writes the results."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mrl_jax import errors, interrupt, parts, remarks, rows
from mrl_jax.contracts import Evaluator
from mrl_jax.embed import export, fingerprint
from mrl_jax.embed.evidence import Evidence
from mrl_jax.evaluators import EVALUATORS
from mrl_jax.job import Job, answer
from mrl_jax.report import compare as comparison
from mrl_jax.report import curves, headline, page, tables
from mrl_jax.report import results as files
from mrl_jax.state import TrainState


def of_state(
  run, state, step: int, writer=None, last: bool = False, fresh: bool = False
) -> dict[str, float]:
  """Evaluates a run's state at a step; returns the results by flat name.

  Unless `last`, or the last step, only the evaluators of `eval.often` run. An
  evaluation of other data or of another state gives way; with `last` that is
  refused, unless `fresh`.
  """
  everything = last or step >= run.cadence.steps
  chosen = {
    name: evaluator
    for name, evaluator in run.evaluators.items()
    if everything or name in run.often
  }
  evidence = run.evidence(state.best)
  place = _place(run, state, step, evidence)
  _make_room(
    place, fresh or not last, 'data or another state; clear it: --fresh'
  )
  pairs = run.feed.size('train') * run.feed.size('validation')
  job = Job(
    place=place,
    evaluators=chosen,
    options=run.options,
    evidence=evidence,
    size=pairs * evidence.dims[-1],
    shown=everything,
    fresh=fresh,
    more={'step': step},
  )
  results = _run(job, run.workdir, f'{step:,}')
  values = {rows.flat_name(row): row['value'] for row in results}
  if writer is not None and jax.process_index() == 0 and results:
    often = [row for row in results if row['evaluator'] in run.often]
    writer.write(step, values, [rows.flat_name(row) for row in often])
  return values


def _place(run, state, step: int, evidence: Evidence) -> parts.Place:
  """Where the parts of a step lie, and all that they depend on."""
  pairs = evidence.relate is not None
  data = fingerprint.of_words([run.feed.fingerprint, pairs])
  variables = fingerprint.of_variables(state.best)
  words = [data, step, variables, run.essence]
  return parts.Place(
    folder=run.workdir / 'eval' / str(step),
    data=data,
    about=fingerprint.of_words(words) if variables else '',
    more=(evidence.dims, evidence.trained),
  )


def of_checkpoint(
  run, step: int | None = None, fresh: bool = False
) -> dict[str, float]:
  """Evaluates a saved step, the newest by default, as training would.

  Raises:
    CheckpointError: if the step is missing or damaged.
    UsageError: if it was evaluated on other data, unless `fresh`.
  """
  state, step = saved_state(run, step)
  return of_state(run, state, step, last=True, fresh=fresh)


def of_vectors(frozen, fresh: bool = False) -> dict[str, float]:
  """Evaluates embeddings from files (foreign.Frozen) into their folder.

  Raises:
    UsageError: if the folder is a run's or, unless `fresh`, holds an
      evaluation of other vectors.
  """
  folder, evidence = frozen.folder, frozen.evidence
  check_output(folder)
  if not any(evidence.has(*kind.needs) for kind in frozen.evaluators.values()):
    raise errors.UsageError(
      'nothing to evaluate: '
      + '; '.join(
        f'{name} needs {" and ".join(kind.needs)}'
        for name, kind in frozen.evaluators.items()
      )
    )
  about, ids = fingerprint.of_sides(evidence), fingerprint.of_ids(evidence)
  data = frozen.data or about
  more = evidence.dims, evidence.trained, ids
  place = parts.Place(folder / 'eval' / '0', data, f'{data} {about}', more)
  fix = 'name another by --output=..., or clear it: --fresh'
  asked = ', texts or judgements' if frozen.data else ''
  _make_room(place, fresh, f'vectors{asked}; {fix}')
  try:
    place.folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.UsageError(
      f'--output={folder} cannot be written: {error}'
    ) from error
  database, queries = evidence.database, evidence.queries
  job = Job(
    place=place,
    evaluators=frozen.evaluators,
    options=frozen.options,
    evidence=evidence,
    size=len(database) * len(queries) * evidence.dims[-1],
    fresh=fresh,
  )
  notes = frozen.notes
  if not evidence.has('pairs'):
    notes += remarks.of(database, queries, evidence.dims)
  results = _run(job, folder, '', notes)
  return {rows.flat_name(row): row['value'] for row in results}


def check_output(folder: Path) -> None:
  """Raises UsageError for the folder of a training run."""
  if (folder / 'config.json').exists():
    raise errors.UsageError(
      f'--output={folder} is the workdir of a training run; name another folder'
    )


def _make_room(place: parts.Place, may_clear: bool, words: str) -> None:
  """Clears an evaluation of something else, or raises UsageError."""
  if jax.process_index() != 0:
    return
  parts.adopt(place.folder, EVALUATORS)
  if not place.of_others():
    return
  if not may_clear:
    raise errors.UsageError(
      f'{place.folder} holds an evaluation of other {words}'
    )
  parts.clear(place.folder)


def _run(
  job: Job, workdir: Path, step: str, notes: Sequence[str] = ()
) -> list[rows.Row]:
  """The rows of a job; writes and shows all that is in its folder.

  A signal leaves the report of what is done.
  """
  folder = job.place.folder
  try:
    results = job.run()
  except KeyboardInterrupt as stop:
    number = stop.args[0] if stop.args else signal.SIGINT
    raise interrupt.Stop(number, _rescued(folder, workdir, notes)) from None
  if jax.process_index() == 0:
    whole, details = parts.merged(folder, list(EVALUATORS), notes)
    if whole or len(details) > 1:
      publish(folder, workdir, whole, details, step)
  return results


def _rescued(folder: Path, workdir: Path, notes: Sequence[str]) -> str:
  """What is left of an evaluation that was stopped, after its report."""
  whole, details = parts.merged(folder, list(EVALUATORS), notes)
  if not whole or jax.process_index() != 0:
    return 'no evaluator was done'
  files.write(folder, whole, details)
  report = page.write(folder, workdir)
  names = ', '.join(dict.fromkeys(row['evaluator'] for row in whole))
  return f'{names} are kept in {report}; run it again to go on'


def run_all(
  evaluators: Mapping[str, Evaluator], evidence: Evidence
) -> tuple[list[rows.Row], dict[str, dict[str, Any]]]:
  """(result rows, details by evaluator) of all whose needs are met."""
  results: list[rows.Row] = []
  details = {}
  for name, evaluator in evaluators.items():
    if evidence.has(*evaluator.needs):
      answers, more = answer(evaluator, evidence)
      results += answers
      if more:
        details[name] = more
  return results, details


def publish(
  folder: Path, workdir: Path, results: list, details: dict, step: str
) -> None:
  """Writes results, curves, pictures and the page; prints the table."""
  files.write(folder, results, details)
  report = page.write(folder, workdir)
  unit = curves.units(curves.main(results))
  title = f'step {step}, {unit}' if step else unit
  _, decision = files.deciding(details)
  advice = decision.get('text', '')
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
