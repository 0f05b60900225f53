#!/bin/sh
# The rows of docs/robustness.md: sh docs/models/robustness.sh SETS MATRIX WEIGHTS_401 WEIGHTS_100
# SETS: the data sets (docs/data.md); MATRIX: phi_0_10_1089.mat; the published weights (docs/models/published.md). Relative
# paths: the rows have them. About an hour on one core; a second run goes on.
set -eu
sets=$1 matrix=$2 official=$3 paper=$4
python=${PYTHON:-.venv/bin/python}

evaluate() { # NAME OVERRIDES
  name=$1
  shift
  "$python" -m invsmooth.evaluate experiment=robustness data.root="$sets" trainer.num_threads=1 report=false \
    hydra.run.dir=robustness/"$name" "$@"
}
for name in denoise15_L1 denoise15_L1.15 denoise15_L1.4 denoise15_L2; do
  evaluate $name ckpt=docs/models/$name.ckpt
done
# Alone in their blocks:
evaluate denoise10_L1 ckpt=docs/models/denoise10_L1.ckpt data.limit=2 operator.sigma_b=10
evaluate denoise25_L1.15 ckpt=docs/models/denoise25_L1.15.ckpt data.limit=2 operator.sigma_b=25
evaluate cs30_eps1 ckpt=docs/models/cs30_eps1.ckpt data.limit=2 operator.ratio=0.3
for name in cs10_eps1 cs10_eps5; do
  evaluate $name ckpt=docs/models/$name.ckpt operator.matrix="$matrix"
done
evaluate istanetpp_official_401 task=cs operator.ratio=0.1 operator.matrix="$matrix" ckpt="$official"
evaluate istanetpp_paper_ord_100 task=cs operator.ratio=0.1 operator.matrix="$matrix" ckpt="$paper"
for name in identity wiener wavelet tv; do
  evaluate $name task=denoise estimator=$name
done
"$python" -m invsmooth.train task=denoise estimator=lmmse algo=fit data=train400 data/test=set11 data.root="$sets" \
  data.crop=99 attack.eps=[0] certify=lipschitz trainer.num_threads=1 report=false hydra.run.dir=lmmse
evaluate lmmse ckpt=lmmse/checkpoints/best.ckpt
"$python" -m tests.benchmarks.robustness_rows 'robustness/*' docs/models/rows
