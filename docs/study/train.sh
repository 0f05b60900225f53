#!/bin/sh
# The trainings of the study (docs/study.md): make study DATA=FOLDER of train400, bsd68, set11, set12 and imagenet.
# Every network of a task and seed starts from one ordinary training and takes the same number of optimiser steps, of 32
# patches each.
# A second run goes on where the first one was stopped: finished trainings are in outputs/cache.
#   sh docs/study/train.sh FOLDER TASK SEED …
set -eu
data=$1 task=$2
shift 2
work=outputs/study_work
python=${PYTHON:-.venv/bin/python}
threads=${THREADS:-1}

# 20 of the 400 images validate: hyper-parameters and the σ of smoothing are chosen on them, never on test images.
split=$work/train400
if ! test -d "$split"; then
  mkdir -p "$split.part/train" "$split.part/val"
  for image in "$data"/train400/*.png; do
    case $image in
      *[02468]0.png) cp "$image" "$split.part/val" ;; # test_020.png, test_040.png …
      *) cp "$image" "$split.part/train" ;;
    esac
  done
  mkdir "$split.part/test" # empty: a training ends with one bundled photograph
  mv "$split.part" "$split"
fi

common="task=${task}_small data=folder data.root=$split data/test=bundled task.epochs=1 trainer.num_threads=$threads trainer.progress_bar=false
  data.val_crop=132 data.crop=33 attack.eps=[0] attack.check_samples=0 certify.sigma=[12] certify.n_samples=1
  certify.files=false certify.pictures=0 report=false"
batch=32
case $task in
  denoise) own="operator.sigma_b=15" ;;
  cs) own="operator=block_gaussian operator.ratio=[0.1,0.3] operator.train_ratio=[0.1,0.2,0.3,0.4,0.5]" ;;
  *) echo "error: TASK is denoise or cs, not $task"; exit 2 ;;
esac

train() { # NAME BATCHES OVERRIDES: into $work/NAME
  name=$1 patches=$(($2 * batch))
  shift 2
  grep -qs finished "$work/$name/run.json" || "$python" -m invsmooth.train $common $own task.n_patches=$patches task.batch_size=$batch \
    hydra.run.dir="$work/$name" "$@"
}

# The linear estimator, in closed form; for denoising one for each noise level.
case $task in
  denoise) for sigma_b in 2 10; do
      train denoise_lmmse_$sigma_b 1 estimator=lmmse algo=fit operator.sigma_b=$sigma_b operator.train_sigma_b=$sigma_b
    done ;;
  cs) train cs_lmmse 1 estimator=lmmse algo=fit operator.ratio=[0.1,0.3] operator.train_ratio=[0.1,0.3] ;;
esac
# With a proven Lipschitz constant: as many steps as a start and a fine-tuning together. 8 patches of 99×99 are 72 of 33×33.
batch=64 certified="algo=certified task=${task}_certified_small certify=lipschitz certify.certifiers=null"
case $task in
  denoise) train denoise_lipschitz 1650 $certified estimator=lipnet_small ;;
  cs) batch=8 && train cs_lipschitz 1650 $certified estimator=null_space_small task.patch_size=99 ;;
esac
batch=32
for seed in "$@"; do
  name() { echo "${task}_$1_seed$seed"; }
  test "$task" = denoise || batch=64
  train "$(name start)" 1500 algo=ord seed=$seed
  batch=32
  fine="ckpt=$work/$(name start)/checkpoints/last.ckpt task.learning_rate=5e-4 seed=$seed"
  train "$(name ord)" 150 algo=ord $fine
  train "$(name adv)" 150 algo=adv_small $fine
  train "$(name smt_grad)" 25 algo=smt_grad_small algo.sigma=10 $fine # 25 batches of 6 optimiser steps
  train "$(name smt_adv)" 150 algo=smt_adv_small algo.sigma=10 $fine
  train "$(name jcb)" 150 algo=jcb $fine
  train "$(name smt_grad25)" 25 algo=smt_grad_small algo.sigma=25 $fine
  train "$(name ord_matched)" 1800 algo=ord $fine # as many network evaluations as smt_adv
  test "$task" = denoise || continue
  for sigma_b in 2 10; do # trained at the noise of the test, not at 15
    train "$(name ord$sigma_b)" 450 algo=ord operator.sigma_b=$sigma_b operator.train_sigma_b=$sigma_b \
      ckpt=$work/$(name ord) task.learning_rate=5e-4 seed=$seed
  done
done
