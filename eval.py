"""Evaluates a run, or any embeddings, at every dimension (see README.md).

python eval.py --workdir=runs/vit_mrl
python eval.py --embeddings=x.npy --labels=y.npy
python eval.py --compare runs/mrl runs/ff8
"""

import sys

from mrl_jax import commands

if __name__ == '__main__':
  sys.exit(commands.run_eval())
