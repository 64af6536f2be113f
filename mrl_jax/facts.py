"""The facts of the data that a run learned from: saved, and held to.

A label is a number, and what it means is the order of the class names. So the
names belong to the run: a source that lists them in another order is mapped
by name, and one that has others is refused.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mrl_jax import progress
from mrl_jax.contracts import Facts, Record, Source
from mrl_jax.errors import UsageError

NAME = 'facts.json'
SHOWN = 5


def write(folder: Path, facts: Facts) -> None:
  """Writes the facts into a folder, whole or not at all."""
  partial = folder / f'.{NAME}.partial'
  text = json.dumps(dataclasses.asdict(facts), indent=1, ensure_ascii=False)
  # A folder's name may have bytes that are not UTF-8.
  partial.write_text(text, encoding='utf-8', errors='surrogateescape')
  partial.rename(folder / NAME)


def read(folder: str | Path) -> Facts | None:
  """The facts in a folder; None if there are none, as in older runs.

  Raises:
    UsageError: if the file is damaged.
  """
  path = Path(folder) / NAME
  try:
    text = path.read_text(encoding='utf-8', errors='surrogateescape')
    saved = json.loads(text)
    return Facts(saved['fields'], tuple(saved['classes']), saved['fingerprint'])
  except OSError:
    return None
  except (ValueError, KeyError, TypeError) as error:
    raise UsageError(f'{path} is damaged: {error}') from error


class Relabelled(Sequence):
  """Records whose label l is `numbers[l]`."""

  def __init__(self, records: Sequence[Record], numbers: Sequence[int]):
    self.records, self.numbers = records, tuple(numbers)

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> Record:  # type: ignore[override]
    record = self.records[index]
    return {**record, 'label': self.numbers[record['label']]}


@dataclasses.dataclass(frozen=True)
class Matched:
  """A source with the labels of a run."""

  train: Sequence[Record]
  validation: Sequence[Record]
  facts: Facts


def matched(source: Source, learned: Facts) -> Source:
  """The source with the classes that a run has learned, in their order.

  The source may lack some of them. Other records than those of the run are
  only said.

  Raises:
    UsageError: if it has a class that the run does not know.
  """
  now = source.facts
  if now.fingerprint != learned.fingerprint:
    progress.say(
      'note: the data is not what this run learned from (fingerprint '
      f'{learned.fingerprint or "none"}, now {now.fingerprint or "none"})'
    )
  if tuple(now.classes) == learned.classes:
    return source
  numbers: Mapping = {name: i for i, name in enumerate(learned.classes)}
  if unknown := [name for name in now.classes if name not in numbers]:
    missing = [name for name in learned.classes if name not in now.classes]
    raise UsageError(
      f'the data has {len(unknown)} classes that this run does not know '
      f'({_some(unknown)}); of those it knows {len(missing)} are not there '
      f'({_some(missing)}). Give them their old names, or choose another '
      '--workdir'
    )
  order = [numbers[name] for name in now.classes]
  return Matched(
    Relabelled(source.train, order),
    Relabelled(source.validation, order),
    dataclasses.replace(now, classes=learned.classes),
  )


def _some(names: Sequence[str]) -> str:
  shown = ', '.join(repr(name) for name in names[:SHOWN])
  return shown + (', ...' if len(names) > SHOWN else '')
