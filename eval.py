"""Evaluates a run, or any embeddings, at every dimension (see README.md).

python eval.py --workdir=runs/vit_mrl
python eval.py --embeddings=x.npy --labels=y.npy
python eval.py --compare runs/mrl runs/ff8
"""

import sys

from mrl_jax import cli, errors


def main(argv: list[str]) -> int:
  options, words = cli.parse(argv, 'eval')
  try:
    from mrl_jax import (
      build,
      evaluation,
      foreign,
      progress,
      schema,
      sharding,
      workdir,
    )
    from mrl_jax import config as configs

    progress.quiet()
    if options.compare:
      runs, output = options.compare, options.output
      return evaluation.compare(runs, output, options.group_seeds)
    if options.workdir:
      config = workdir.read_config(options.workdir)
    else:
      config = foreign.vector_config(options.dims)
    config = schema.resolve(config, words)
    with configs.blame('--distributed'):
      sharding.initialise(options.distributed)
    if options.embeddings:
      evaluation.of_vectors(foreign.frozen(config, options))
      return 0
    run = build.run(config, options.workdir)
    if options.export:
      step, folder = options.step, options.export
      return evaluation.exported(run, step, folder, options.dtype)
    evaluation.of_checkpoint(run, options.step)
    return 0
  except errors.EXPECTED as error:
    return errors.tell(error)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
