"""Trains an encoder whose every prefix is an embedding (see README.md).

python train.py --config=configs/vit_mrl.py
"""

import sys

from mrl_jax import commands

if __name__ == '__main__':
  sys.exit(commands.run_train())
