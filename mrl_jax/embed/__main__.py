"""Embeds files with a trained model.

python -m mrl_jax.embed --model=RUN --inputs=FOLDER --output=x.npy --dim=16
"""

import sys

from mrl_jax import commands

if __name__ == '__main__':
  sys.exit(commands.run_embed())
