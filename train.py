"""Trains an encoder whose every prefix is an embedding (see README.md).

python train.py --config=configs/vit_mrl.py
"""

import sys

from mrl_jax import cli, errors


def main(argv: list[str]) -> int:
  options, words = cli.parse(argv, 'train')
  try:
    from mrl_jax import config as configs
    from mrl_jax import progress, schema, sharding, workdir

    progress.quiet()
    config, name = configs.load(options.config)
    config = schema.resolve(config, words)
    if options.print_config:
      print(configs.to_json(config))
      return 0
    with configs.blame('--distributed'):
      sharding.initialise(options.distributed)
    from mrl_jax import build, loop  # heavy: the keys are right by now

    run = build.run(config, options.workdir or f'runs/{name}')
    workdir.claim(run.workdir, config, run.cadence.steps)
    return loop.train(run)
  except errors.EXPECTED as error:
    return errors.tell(error)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
