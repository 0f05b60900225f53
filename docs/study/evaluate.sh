#!/bin/sh
# The evaluations of the study (docs/study.md), of networks that docs/study/train.sh trained.
# A second run goes on where the first one was stopped: finished cells are in outputs/cache.
#   sh docs/study/evaluate.sh FOLDER TASK SEED …
# An ε is that of 256×256 pixels, scaled to the crop: a change of each pixel as large as there.
set -eu
data=$1 task=$2
shift 2
work=outputs/study_work
python=${PYTHON:-.venv/bin/python}
ln -sfn "$(cd "$data" && pwd)" $work/sets # the rows have paths below this folder

evaluate() { # STAGE NAME OVERRIDES
  stage=$1 name=$2
  shift 2
  case " ${STAGES:-$stage} " in *" $stage "*) ;; *) return 0 ;; esac # STAGES="test proven": these alone, in a process of its own
  grep -qs finished "$work/rows/$stage/$name/run.json" || "$python" -m invsmooth.evaluate trainer.num_threads=${THREADS:-1} \
    trainer.progress_bar=false attack.precision=fp32 operator.noise_seed=0 certify.pictures=0 certify.files=false report=false \
    hydra.run.dir="$work/rows/$stage/$name" "$@"
}

case $task in
  denoise) # 64×64: ε = 5, 10, 15 of 256×256 are 1.25, 2.5, 3.75
    crop=64 images="data=bsd68 data.root=$work/sets" limit=20 validation=10 few=4
    eps=0,1.25,2.5,3.75 sigma=5,10,15,20 settings="operator.sigma_b=[2,10]" ;;
  cs) # 66×66: ε = 1, 3, 5, 7 of 256×256 are 0.258, 0.773, 1.289, 1.805
    crop=66 images="data=set11 data.root=$work/sets" limit=11 validation=5 few=2
    eps=0,0.258,0.773,1.289,1.805 sigma=3,10,20,35 settings="operator.ratio=[0.1,0.3]" ;;
  *) echo "error: TASK is denoise or cs, not $task"; exit 2 ;;
esac
images="$images data.crop=$crop"
# As published: the discrepancy's certificate divides ε by σ in grey levels. It holds for no ‖ξ‖ ≤ ε; the PSNR does not need it.
smooth="attack.eps=[$eps] attack.check_samples=0 certify=discrepancy certify.sigma=[$sigma] certify.n_samples=24
  certificate.units=paper"
small=0,0.02,0.05,0.1,0.2
certificates="attack.eps=[$small] attack.check_samples=0 certify.sigma=[12,25] certify.n_samples=1000"
proven="attack.eps=[$small,${eps#0,}] attack.check_samples=0 certify=lipschitz"

for seed in "$@"; do
  for network in ord smt_grad jcb adv smt_adv smt_grad25 ord_matched; do
    name=${task}_${network}_seed$seed
    evaluate test $name ckpt=$work/$name seed=$seed $images data.limit=$limit $smooth $settings
  done
  test "$task" = denoise && for level in 2 10; do
    name=denoise_ord${level}_seed$seed
    evaluate test $name ckpt=$work/$name seed=$seed $images data.limit=$limit $smooth operator.sigma_b=$level
    evaluate validation $name ckpt=$work/$name seed=$seed data=folder data.root=$work/train400/val data.crop=$crop \
      data.limit=$validation $smooth operator.sigma_b=$level
  done
  test "$seed" = 0 || continue
  for network in ord smt_grad jcb adv smt_adv smt_grad25 ord_matched; do
    name=${task}_${network}_seed0 ckpt="ckpt=$work/${task}_${network}_seed0 seed=0"
    # The σ to smooth with, from images that are neither trained on nor tested on.
    evaluate validation $name $ckpt data=folder data.root=$work/train400/val data.crop=$crop data.limit=$validation $smooth $settings
    evaluate certified $name $ckpt $images data.limit=$few $certificates certify.certifiers=[error,mean] $settings
  done
  for network in ord adv smt_adv smt_grad; do # attacks on the smoothed network, at one σ
    name=${task}_${network}_seed0 ckpt="ckpt=$work/${task}_${network}_seed0 seed=0"
    evaluate attacked_smoothed $name $ckpt $images data.limit=8 $smooth $settings certify.sigma=10 attack.target=median \
      attack.n_samples=8 attack.n_iter=10
  done
  for network in ord smt_grad25; do # every certifier that smooths; discrepancy draws anew for each ε
    name=${task}_${network}_seed0 ckpt="ckpt=$work/${task}_${network}_seed0 seed=0"
    evaluate certifiers $name $ckpt $images data.limit=2 $certificates $settings certify.sigma=25 \
      certify.certifiers=[discrepancy,error,radius,mean,center] certify.threshold=0.002
  done
  for n_samples in 50 100 500 1000; do # the paper's Table 4
    evaluate draws ${task}_ord_$n_samples ckpt=$work/${task}_ord_seed0 seed=0 $images data.limit=2 $smooth $settings \
      attack.eps=[${eps##*,}] certify.sigma=${sigma##*,} certify.n_samples=$n_samples
  done
done

# Estimators without a training, or with a proven Lipschitz constant, at every ε.
case $task in
  denoise)
    for level in 2:0.005:0.011 10:0.025:0.053; do # σ_b, and λ and threshold in proportion to it
      sigma_b=${level%%:*} lam=${level#*:}
      own="$images data.limit=$limit $proven operator.sigma_b=$sigma_b"
      evaluate proven denoise_identity_$sigma_b estimator=identity $own
      evaluate proven denoise_tv_$sigma_b estimator=tv estimator.lam=${lam%:*} $own
      evaluate proven denoise_wavelet_$sigma_b estimator=wavelet estimator.threshold=${lam#*:} $own
      evaluate proven denoise_lmmse_$sigma_b ckpt=$work/denoise_lmmse_$sigma_b $own
      evaluate proven denoise_lipnet_$sigma_b ckpt=$work/denoise_lipschitz $own
    done
    evaluate proven denoise_lipschitz_10 ckpt=docs/models/denoise10_L1.ckpt $images data.limit=$limit $proven operator.sigma_b=10 ;;
  cs)
    evaluate proven cs_lmmse ckpt=$work/cs_lmmse $images data.limit=$limit $proven $settings
    evaluate proven cs_null_space ckpt=$work/cs_lipschitz $images data.limit=$limit $proven $settings
    for name in cs10_eps1 cs10_eps5; do
      evaluate proven cs_lipschitz_$name ckpt=docs/models/$name.ckpt operator.matrix=$work/sets/matrices/phi_0_10_1089.mat \
        $images data.limit=$limit $proven operator.ratio=0.1
    done
    evaluate proven cs_lipschitz_cs30_eps1 ckpt=docs/models/cs30_eps1.ckpt $images data.limit=$limit $proven operator.ratio=0.3 ;;
esac
