"""The cost of a compiled step on one chip: FLOPs, memory traffic, messages."""

import math
import re
from collections.abc import Iterator

import jax

from mrl_jax.shapes import PyTree

COLLECTIVES = (
  'all-reduce',
  'all-gather',
  'reduce-scatter',
  'collective-permute',
  'all-to-all',
)


# A message in groups of one device: nothing is sent.
ALONE = r'replica_groups=(\{\{\d+\}|\[\d+,1\]<=)'


def roofline(
  flops: float, traffic: float, peak: float, bandwidth: float
) -> dict[str, float | str]:
  """Seconds of arithmetic, seconds of memory traffic, the larger, its name.

  The two are assumed to overlap fully. Messages between chips are left out.
  """
  seconds = {'flops': flops / peak, 'bandwidth': traffic / bandwidth}
  binds = max(seconds, key=seconds.get)
  return {
    'flops_seconds': seconds['flops'],
    'bandwidth_seconds': seconds['bandwidth'],
    'roofline_seconds': seconds[binds],
    'bound_by': binds,
  }


def matmul_flops(jaxpr, loops: bool = True) -> float:
  """The operations of all matmuls and convolutions, summed over all chips.

  The body of a scan counts once per iteration. With `loops=False` it counts
  once, as in XLA's cost analysis. Loops of unknown length count once. The body
  of a `shard_map` counts once per device of its mesh.
  """
  total = 0.0
  for equation in jaxpr.eqns:
    parameters = equation.params
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = parameters['dimension_numbers']
      left = equation.invars[0].aval.shape
      depth = math.prod(left[axis] for axis in contracted)
      total += 2 * equation.outvars[0].aval.size * depth
    elif equation.primitive.name == 'conv_general_dilated':
      kernel = equation.invars[1].aval
      out_features = parameters['dimension_numbers'].rhs_spec[0]
      depth = kernel.size // kernel.shape[out_features]
      total += 2 * equation.outvars[0].aval.size * depth
    times = parameters.get('length', 1) if loops else 1
    if equation.primitive.name == 'shard_map':
      times *= parameters['mesh'].size
    for inner in _inner_jaxprs(parameters):
      total += times * matmul_flops(inner, loops)
  return total


def _inner_jaxprs(parameters: dict) -> Iterator:
  for value in jax.tree.leaves(list(parameters.values())):
    if hasattr(value, 'jaxpr'):
      value = value.jaxpr
    if hasattr(value, 'eqns'):
      yield value


def collectives(hlo: str, repeats: int = 1) -> dict[str, dict[str, int]]:
  """{kind: {'count', 'bytes'}} of one step, from a compiled program's text.

  Bytes are those of the results on one chip; a combined message counts all its
  parts. An asynchronous message counts at its end. The compiler may cut a
  message into pieces to hide it behind arithmetic. Such pieces stand in
  fusions and share a channel and a shape; they count once. Groups of one
  device exchange nothing. On TPUs a reduce-scatter is an all-reduce inside a
  computation called all-reduce-scatter. `repeats` is the length of the loop of
  the step (gradient accumulation), whose body appears once in the text.
  """
  parts = _computations(hlo)
  repeated = _loop_body(parts)
  fused = set(re.findall(r' fusion\(.*?calls=%?([\w.\-]+)', hlo))
  found = {}
  for name, lines in parts.items():
    scatters = name.startswith('all-reduce-scatter')
    for line in lines[1:]:
      match = re.match(
        rf'\s*(?:ROOT )?%?(\S+) = (.*?) ({"|".join(COLLECTIVES)})(-done)?\(',
        line,
      )
      if not match or re.search(ALONE, line):
        continue
      instruction, result, kind, _ = match.groups()
      if scatters and kind == 'all-reduce':
        kind, result = 'reduce-scatter', lines[0].rpartition('->')[2]
      key = kind, instruction
      channel = re.search(r'channel_id=(\d+)', line)
      if channel and name in fused:
        # All messages of a shard_map share one channel; shapes differ.
        key = kind, channel[1], re.sub(r'\{.*?\}', '', result)
      times = repeats if name in repeated else 1
      found.setdefault(key, (times, times * _shape_bytes(result)))
  return {
    kind: {
      'count': sum(n for (k, *_), (n, _) in found.items() if k == kind),
      'bytes': sum(size for (k, *_), (_, size) in found.items() if k == kind),
    }
    for kind in COLLECTIVES
  }


def _computations(hlo: str) -> dict[str, list[str]]:
  """The lines of each computation, signature first; the main one is `ENTRY`."""
  parts, lines = {}, []
  for line in hlo.splitlines():
    match = re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line)
    if match:
      lines = parts.setdefault(match[1] and 'ENTRY' or match[2], [])
    lines.append(line)
  return parts


def _loop_body(parts: dict[str, list[str]]) -> set[str]:
  """The computations that the loop of the step calls, directly or not."""
  waiting = [
    re.search(r'body=%?([\w.\-]+)', line)[1]
    for line in parts.get('ENTRY', ())
    if re.search(r' while\(.*op_name="jit\(\w+\)/while"', line)
  ]
  reached = set()
  while waiting:
    name = waiting.pop()
    if name in reached or name not in parts:
      continue
    reached.add(name)
    called = r'(?:calls|body|condition|to_apply)=%?([\w.\-]+)'
    waiting += re.findall(called, '\n'.join(parts[name]))
  return reached


def _shape_bytes(shapes: str) -> int:
  """Bytes of an HLO type like `f32[8,4]{1,0:T(8,128)}`, or a tuple of such."""
  total = 0
  kinds = r'\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]'
  for bits, sizes in re.findall(kinds, shapes):
    count = math.prod(int(n) for n in sizes.split(',') if n)
    total += int(bits or 8) * count // 8
  return total


def hbm_needed(error: str) -> int:
  """The bytes of temporaries that an out-of-memory error names.

  Raises:
    RuntimeError: with the text of the error, if it is another error.
  """
  match = re.search(r'RESOURCE_EXHAUSTED.*?([\d.]+)([KMG])\b', error, re.DOTALL)
  if not match:
    raise RuntimeError(error)
  return round(float(match[1]) * 1024 ** (1 + 'KMG'.index(match[2])))


def _chip_bytes(tree: PyTree) -> int:
  """Bytes of a tree of placed shapes on one chip."""
  return sum(
    math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )


def memory_of(placed, batch: dict, compiled, needed: int | None) -> dict:
  """Bytes on one chip by what they hold, and their total.

  `other` is the padding that the compiler adds to the arguments, and outputs
  that do not replace an argument.
  """
  memory = {
    'parameters': _chip_bytes(placed.variables),
    'optimizer': _chip_bytes(placed.opt_state),
    'average': _chip_bytes(placed.average),
    'batch': _chip_bytes(batch),
    'other': 0,
    'temporaries': needed,
    'program': 0,
  }
  if compiled is not None:
    stats = compiled.memory_analysis()
    memory['other'] = (
      stats.argument_size_in_bytes
      - sum(memory[key] for key in ('parameters', 'optimizer', 'average'))
      - memory['batch']
      + stats.output_size_in_bytes
      - stats.alias_size_in_bytes
    )
    memory['temporaries'] = stats.temp_size_in_bytes
    memory['program'] = stats.generated_code_size_in_bytes
  return memory | {'total': sum(memory.values())}
