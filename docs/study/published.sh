#!/bin/sh
# The paper's own ISTA-Net++ on whole images (docs/study.md, section 4): Table 1(b), row "Ord", and what moves its numbers.
# A second run goes on where the first one was stopped. An hour on one core.
#   sh docs/study/published.sh FOLDER
set -eu
data=$1 work=outputs/study_work
python=${PYTHON:-.venv/bin/python}
mkdir -p $work/rows/published
ln -sfn "$(cd "$data" && pwd)" $work/sets # the rows have paths below this folder
matrix="operator.matrix=$work/sets/matrices/phi_0_10_1089.mat"

evaluate() { # NAME OVERRIDES
  name=cs_$1
  shift
  grep -qs finished "$work/rows/published/$name/run.json" || "$python" -m invsmooth.evaluate trainer.num_threads=${THREADS:-1} \
    trainer.progress_bar=false certify.pictures=0 certify.files=false report=false hydra.run.dir="$work/rows/published/$name" \
    task=cs ckpt=$work/sets/weights/istanetpp_paper_ord_100.pkl data=set11 data.root=$work/sets data.crop=null scale=paper \
    operator.ratio=0.1 attack.precision=bf16 attack.check_samples=0 certify=discrepancy certificate.units=paper "$@"
}

for cell in 1:3 5:21 7:35; do # ε, and the paper's σ for it
  evaluate published_${cell%:*} "$matrix" attack.eps=${cell%:*} certify.sigma=${cell#*:} certify.n_samples=50
done
for cell in 5:21 7:35 1:3; do # the same, with an attack on the smoothed network
  evaluate published_smoothed_${cell%:*} "$matrix" attack.eps=${cell%:*} certify.sigma=${cell#*:} certify.n_samples=50 \
    attack.target=median attack.n_samples=8 attack.n_iter=10
done
for seed in 0 1 2; do # other Φ, without attack
  evaluate published_phi$seed operator.seed=$seed attack.eps=0 certify.sigma=3 certify.n_samples=1
done
# What the released code adds: x + ξ + δ is clamped before it is measured.
test -f $work/rows/published/clamped.csv || OMP_NUM_THREADS=${THREADS:-1} "$python" -m tests.study.clamped "$work/sets"
