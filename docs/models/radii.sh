#!/bin/sh
# PSNR over the radius of the attack, docs/images/radii.png, the README's first picture: make radii DATA=FOLDER MATRIX=FILE
# Trains an ordinary and an adversarially trained network for each task, and evaluates them beside two of this folder.
# FOLDER: the data sets (docs/data.md). MATRIX: phi_0_10_1089.mat. More than an hour on one core; a second run goes on.
set -eu
data=$1 matrix=$2 out=outputs/radii
python=${PYTHON:-.venv/bin/python}

nothing="attack.eps=[0] attack.check_samples=0 certify.sigma=[12] certify.n_samples=1 data.crop=33 report=false" # evaluated below
plain="algo.n_iter=10 algo.history=0 algo.init=zero" # attacks without a history, as when the picture was drawn
train() { # NAME OVERRIDES
  name=$1
  shift
  test -f "$out/$name/results.parquet" || "$python" -m invsmooth.train data=train400 data.root="$data" data.val_crop=132 \
    $nothing hydra.run.dir="$out/$name" "$@"
}
smoothing="certify=error certify.sigma=[12,25,50] certify.n_samples=100"
evaluate() { # NAME CHECKPOINT OVERRIDES
  name=$1 ckpt=$2
  shift 2
  "$python" -m invsmooth.evaluate ckpt="$ckpt" data.root="$data" data.crop=256 data.limit=4 \
    attack.eps=[0,0.05,0.1,0.3,1,3,5,10,15] attack.history=0 hydra.run.dir="$out/report/$name" "$@"
}
cs="task=cs_small operator.ratio=0.1 operator.train_ratio=0.1 operator.matrix=$matrix task.patch_size=99 task.batch_size=8 task.n_patches=2000"

train denoise_ord task=denoise_small data/test=bsd68
train denoise_adv task=denoise_small data/test=bsd68 algo=adv_small $plain ckpt=$out/denoise_ord/checkpoints/best.ckpt \
  trainer.max_steps=300
train cs_ord $cs
train cs_adv $cs algo=adv_small $plain ckpt=$out/cs_ord/checkpoints/best.ckpt trainer.max_steps=150

for algo in ord adv; do
  evaluate denoise_$algo $out/denoise_$algo/checkpoints/best.ckpt data=bsd68 $smoothing
  evaluate cs_$algo $out/cs_$algo/checkpoints/best.ckpt data=set11 operator.matrix="$matrix" $smoothing
done
evaluate denoise_lipschitz docs/models/denoise15_L1.ckpt data=bsd68 certify=lipschitz
evaluate cs_lipschitz docs/models/cs10_eps1.ckpt data=set11 operator.matrix="$matrix" certify=lipschitz

"$python" -m invsmooth.report runs="$out/report/*" out=$out/figure
cp $out/figure/psnr_over_eps.png docs/images/radii.png
