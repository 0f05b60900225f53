"""The config's schema: every key, its type and what it means. ``conf/`` gives the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from invsmooth.config.job_folder import job_label, token
from invsmooth.core.devices import gpu_count
from invsmooth.core.units import Units


@dataclass
class Task:
    """The inverse problem and the paper's hyper-parameters for it (SPEC section 4)."""

    name: str = MISSING
    patch_size: int = MISSING
    n_patches: int = MISSING  # that make an epoch
    batch_size: int = MISSING
    epochs: int = MISSING
    learning_rate: float = MISSING
    schedule: str = "constant"  # constant, halve, cosine
    halve_every: int = 3  # epochs; with schedule=halve
    # The attack of adversarial training: radius and step on images of eps_size × eps_size; algo.eps and algo.step_size are
    # those on a patch, scaled with the side, since the norm of a perturbation grows with it.
    eps: float = MISSING
    step_size: float = MISSING
    n_iter: int = MISSING
    eps_size: int = 256


@dataclass
class Operator:
    """A and the noise b. Single values or lists: every combination of ratio and sigma_b is evaluated."""

    name: str = MISSING
    ratio: Any = 1.0  # m/n, evaluated
    sigma_b: Any = 0.0  # grey levels, evaluated
    train_ratio: Any = 1.0  # one is drawn for each training batch
    train_sigma_b: float = 0.0  # grey levels
    block: int = 33
    seed: int = 0  # of the matrix
    noise_seed: int = 0  # of the noise b of validation and test: the same b for every algorithm and run
    matrix: Any = None  # a .npy or .mat file with the matrix of one block


@dataclass
class TestData:
    """The images to test on."""

    name: str = MISSING
    root: Any = "${data.root}"
    crop: Any = None  # what data.crop is unless it is set
    classes: Any = None  # of imagenet: a list of classes (folders); null: all
    count: Any = None  # of imagenet: how many images, spread over the classes; null: all


@dataclass
class Data:
    """The images to train, validate and test on (SPEC section 7)."""

    name: str = MISSING  # trained on
    val: str = MISSING  # validated on: the name of a set, or holdout
    test: TestData = field(default_factory=TestData)
    root: Any = None  # a folder or zip archive that has the sets; null: the cache folder, to which they are fetched
    mirror: Any = "${oc.env:INVSMOOTH_MIRROR,null}"  # takes the place of scheme and host of the published addresses
    limit: Any = None  # use only the first so many images of each split
    crop: Any = "${data.test.crop}"  # side of the central crop that is tested on; null: whole images
    val_crop: Any = "${data.crop}"  # the same for validation
    augment: bool = True
    holdout: float = 0.2  # share of the images that is kept from training where there are no others
    num_workers: int = 0


@dataclass
class Algo:
    _target_: str = MISSING
    name: str = MISSING


@dataclass
class AlgoOrd(Algo):
    compute_match: Any = None  # smt_grad: as many optimiser steps for each batch
    t_step: int = 6


@dataclass
class AlgoAdv(Algo):
    eps: float = MISSING  # l2 radius over one training PATCH
    n_iter: int = MISSING
    step_size: Any = None
    schedule: str = "constant"
    normalize: bool = True
    init: str = "zero"
    keep: str = "last"
    warm_start: bool = False
    eps_warmup: int = 0  # batches


@dataclass
class AlgoJcb(Algo):
    beta: Any = None  # null: automatic
    gamma: float = 20.0
    norm: str = "spectral"
    reduce: str = "max"
    n_iter: int = 1


@dataclass
class AlgoSmtAdv(AlgoAdv):
    sigma: float = MISSING  # grey levels
    n_samples: int = MISSING
    smoothing: str = "mean"
    noise: str = "fresh"
    chunk_size: Any = None


@dataclass
class AlgoSmtGrad(Algo):
    sigma: float = MISSING  # sigma_max, grey levels
    n_samples: int = MISSING
    t_step: int = MISSING
    smoothing: str = "gradient"
    chunk_size: Any = None


@dataclass
class Attack:
    """The attack on the test images (SPEC section 5)."""

    name: str = MISSING
    eps: Any = MISSING  # l2 norm over one image, [0, 1] pixels; a number or a list
    n_iter: int = MISSING
    step_size: Any = None
    schedule: str = "cosine"
    normalize: bool = True
    init: str = "zero"
    keep: str = "best"
    restarts: int = 1
    target: str = "base"  # base, mean, median: whose error is maximised; mean and median are attacked at each sigma
    n_samples: int = 16  # draws that estimate the error of target=mean and median
    draws: str = "fresh"  # fresh: others at each gradient, which attacks best; fixed
    n_around: Any = None  # target=median: draws near the median that give the gradient; null: all
    chunk_size: Any = None  # draws of each image at a time; null: by the size of the images
    check_samples: int = 32  # fresh draws that check every certificate under the attack found; 0: no check


@dataclass
class Certify:
    """Smoothing and certificates (SPEC section 6)."""

    certifiers: Any = MISSING
    sigma: Any = MISSING  # grey levels; a number or a list
    n_samples: int = MISSING
    confidence: float = 0.99
    over_eps: str = "none"  # none, bonferroni, dkw: whether the confidence is that of all radii together
    over_sigma: str = "none"  # none, bonferroni: of all sigma; needed where the best sigma is picked afterwards
    over_images: str = "none"  # none, bonferroni: of all test images (in all settings)
    quantile: float = 0.5
    threshold: Any = None  # MSE that certifier radius is about
    radius_of: str = "error"  # error, discrepancy: what certifier radius is about
    anytime: bool = False  # certifier radius: only decide for each radius whether it is certified, with few draws
    n_centre: Any = None  # certifier mean: first draws, which fix the ball; null: 500, at most n_samples
    n_pred: Any = None  # certifier center: draws that choose and test the centre; null: by the confidence
    chunk_size: Any = None
    bands: str = "none"  # none, pointwise, bonferroni: certified interval of each pixel, beside the pictures
    pictures: int = 2  # images of each setting whose pictures are kept
    files: bool = True  # a certificate file for each image and setting, for invsmooth.verify


@dataclass
class CertificateConfig:
    units: Units = Units.matched


@dataclass
class TrainerConfig:
    accelerator: str = MISSING
    devices: Any = 1
    strategy: str = "auto"
    precision: str = "32-true"
    max_epochs: int = MISSING
    max_steps: Any = None  # batches
    gradient_clip_val: Any = None
    num_threads: Any = None  # CPU threads; null: torch's choice
    compile: bool = False  # torch.compile the estimator for training
    channels_last: bool = False
    ema_decay: Any = None  # e.g. 0.999: validate, keep and evaluate an exponential moving average of the weights
    progress_bar: bool = True


@dataclass
class Logger:
    """Beside metrics.csv (docs/logging.md)."""

    name: str = MISSING


@dataclass
class LoggerTracker(Logger):
    """What W&B and MLflow have in common."""

    group: Any = None  # of runs; null: the sweep's name, for a single run its own
    tags: list[str] = field(default_factory=list)  # besides task, algorithm, data sets and units=paper
    log_model: bool = True  # keep the best checkpoint as an artefact


@dataclass
class LoggerWandb(LoggerTracker):
    project: str = MISSING
    entity: Any = None  # user or team; null: the account's default
    mode: Any = None  # online, offline, disabled; null: online if there is an API key and the server answers
    init_timeout: float = 30.0  # seconds to wait for the server before the run starts
    finish_timeout: float = 300.0  # seconds to wait for uploads at its end; what is left goes with `wandb sync`


@dataclass
class LoggerMlflow(LoggerTracker):
    experiment: str = MISSING
    tracking_uri: Any = None  # of a server or database; null: files in ``folder``
    folder: str = MISSING


@dataclass
class Run:
    """``python -m invsmooth.train`` and ``python -m invsmooth.evaluate``."""

    task: Task = MISSING
    algo: Algo = MISSING
    operator: Operator = MISSING
    estimator: dict[str, Any] = MISSING
    data: Data = MISSING
    attack: Attack = MISSING
    certify: Certify = MISSING
    certificate: CertificateConfig = field(default_factory=CertificateConfig)
    trainer: TrainerConfig = MISSING
    logger: Logger = MISSING
    seed: int = 0
    report: bool = True  # tables and figures at the end of the run
    cache: Any = (
        "${oc.env:INVSMOOTH_ROOT,.}/outputs/cache"  # what is computed is kept here and not computed again; null: no
    )
    sweep: str = "run"  # plan: only say what there is to do, what is done and how long it would take
    resume: Any = None  # train: a checkpoint to go on from
    ckpt: Any = None  # evaluate: the trained network; train: weights to start from
    trust: list[str] = field(
        default_factory=list
    )  # modules whose classes checkpoints may name, beside estimator._target_'s


@dataclass
class Report:
    """``python -m invsmooth.report``."""

    runs: Any = None
    out: str = MISSING


def register() -> None:
    """Put the schemas into Hydra's config store, where the files of ``conf/`` name them in their defaults."""
    store = ConfigStore.instance()
    for name, node in {"base_run": Run, "base_report": Report}.items():
        store.store(name=name, node=node)
    groups = {"task": Task, "operator": Operator, "data": Data, "attack": Attack, "certify": Certify,
              "trainer": TrainerConfig}  # fmt: skip
    for group, node in groups.items():
        store.store(group=group, name=f"base_{group}", node=node)
    algorithms = {"ord": AlgoOrd, "adv": AlgoAdv, "jcb": AlgoJcb, "smt_adv": AlgoSmtAdv, "smt_grad": AlgoSmtGrad}
    for name, node in algorithms.items():
        store.store(group="algo", name=f"base_{name}", node=node)
    for name, node in {"logger": Logger, "wandb": LoggerWandb, "mlflow": LoggerMlflow}.items():
        store.store(group="logger", name=f"base_{name}", node=node)
    # What has norm a on an image of side m has norm a · p / m, in the mean, on a patch of side p.
    OmegaConf.register_new_resolver("on_patch", lambda a, m, p: float(a) * p / m, replace=True)
    # Cached like Hydra's now: one value for a whole sweep, which its jobs take with them to other processes.
    OmegaConf.register_new_resolver("token", token, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("job_label", job_label, replace=True)
    OmegaConf.register_new_resolver("gpu_count", gpu_count, replace=True)
