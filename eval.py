"""Evaluates a training run at every dimension (see README.md).

python eval.py --workdir=runs/vit_mrl
"""

import sys

from mrl_jax import config as configs
from mrl_jax import errors


def main(argv: list[str]) -> int:
  options, words = configs.parse(argv, 'eval')
  try:
    config = configs.read_saved(options.workdir)
    configs.override(config, words)
    from mrl_jax import build, loop, sharding

    with configs.blame('--distributed'):
      sharding.initialise(options.distributed)
    run = build.run(config, options.workdir)
    loop.evaluate_checkpoint(run, options.step)
    return 0
  except errors.EXPECTED as error:
    return errors.tell(error)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
