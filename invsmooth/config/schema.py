"""The schema of a config: every key, its type, what it allows and what it means. ``conf/`` gives the values.
OmegaConf reads the types when it composes a config; :mod:`invsmooth.config.validate` reads what they allow."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from invsmooth.config import hints, resolvers
from invsmooth.config.open_node import Open
from invsmooth.config.scale import AUTO
from invsmooth.core.parameters import Count, NotNegative, Positive, Whole
from invsmooth.core.units import Units


@dataclass
class Task:
    """The inverse problem and the paper's hyper-parameters for it (SPEC section 4)."""

    name: hints.Name = MISSING
    patch_size: Count = MISSING
    n_patches: Count = MISSING  # of an epoch
    batch_size: Count = MISSING
    epochs: Count = MISSING
    learning_rate: hints.Rate = MISSING
    schedule: Annotated[str, hints.one_of("constant", "halve", "cosine")] = "constant"
    halve_every: Count = 3  # epochs; with schedule=halve
    # The attack of adversarial training: radius and step on images of eps_size × eps_size. algo.eps and algo.step_size are
    # those on a patch, scaled with its side: the norm of a perturbation grows with the side.
    eps: NotNegative = MISSING
    step_size: Positive | None = MISSING
    n_iter: Count = MISSING
    eps_size: Count = 256  # pixels


@dataclass
class OperatorKeys:
    """A and the noise b. Single values or lists: every combination of ratio and sigma_b is evaluated."""

    name: hints.Name = MISSING
    ratio: hints.Ratios = 1.0  # m/n, evaluated
    sigma_b: hints.GreyLevels = 0.0  # evaluated
    train_ratio: hints.Ratios = 1.0  # one is drawn for each training batch
    train_sigma_b: hints.GreyLevel = 0.0  # grey levels
    noise_seed: hints.AnySeed = 0  # of the noise b of validation and test: the same b for every algorithm and run


@dataclass
class TestDataKeys:
    """The images to test on."""

    name: hints.Name = MISSING
    root: hints.Images | None = "${data.root}"
    crop: Count | None = None  # what data.crop is unless it is set


TEST_CROP: Any = "${data.test.crop}"
CROP: Any = "${data.crop}"
TEST_DATA = Open("data/test", TestDataKeys, provided=("root", "mirror", "crop"), shared=True, methods=("files",))


@dataclass
class DataKeys:
    """The images to train, validate and test on (SPEC section 7)."""

    name: hints.Name = MISSING  # trained on
    val: str = MISSING  # validated on: the name of a set, or holdout
    test: Annotated[dict[str, Any], TEST_DATA] = field(default_factory=TEST_DATA.node)
    root: hints.Images | None = None  # has the sets; null: the cache folder, to which they are fetched
    mirror: hints.Address | None = (
        "${oc.env:INVSMOOTH_MIRROR,null}"  # replaces scheme and host of the published addresses
    )
    limit: Count | None = None  # use only the first so many images of each split
    channels: hints.Channels = 1  # 1: grey, 3: colour; evaluate: those of the checkpoint unless given
    crop: Count | None = TEST_CROP  # side of the central crop that is tested on; null: whole images
    val_crop: Count | None = CROP  # the same for validation
    augment: bool = True
    holdout: hints.Fraction = 0.2  # of the images; kept from training where there are no others to validate on
    num_workers: hints.Workers = 0
    # Test images that are drawn to calibrate the floor of the PSNR instead of being tested on (with certify=lipschitz).
    calibration: Whole = 0


@dataclass
class AlgoKeys:
    name: hints.Name = MISSING


@dataclass
class EstimatorKeys:
    """None: all its keys are parameters of the class."""


@dataclass
class AttackKeys:
    """The attack on the test images (SPEC section 5)."""

    name: hints.Name = MISSING
    eps: hints.Radii = field(default_factory=lambda: [0.0, 0.1, 0.25, 1.0])
    target: Literal["base", "mean", "median"] = "base"  # whose error is maximised; mean and median: at each sigma
    n_samples: Count = 16  # draws that estimate the error of target=mean and median
    draws: Literal["fresh", "fixed"] = "fresh"  # fresh: others at each gradient, which attacks best
    n_around: Count | None = None  # target=median: draws near the median that give the gradient; null: all
    chunk_size: Count | None = None  # draws of each image at a time; null: by the size of the images
    # Of the gradients; auto: bf16 where it is faster here and points the same way.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    check_samples: Whole = 32  # fresh draws that check every certificate under the attack found; 0: no check


@dataclass
class CertifyKeys:
    """Smoothing and certificates (SPEC section 6)."""

    # Several, by their options, names or dotted classes; null: that of _target_.
    certifiers: hints.Certifiers | None = None
    sigma: hints.GreyLevels = field(default_factory=lambda: [12.0, 25.0, 50.0])
    n_samples: Count = 100
    confidence: hints.Confidence = 0.99
    over_eps: Literal["none", "bonferroni", "dkw"] = "none"  # whether the confidence is that of all radii together
    over_sigma: hints.Joint = "none"  # of all sigma; needed where the best sigma is picked afterwards
    over_images: hints.Joint = "none"  # of all test images, in all settings
    # Of the network that is attacked and certified; bf16: as it runs under autocast, which is another function.
    precision: Literal["fp32", "bf16"] = "fp32"
    quantile: hints.Fraction = 0.5
    chunk_size: Count | None = None
    # Certified interval of each pixel, beside the pictures.
    pixel_intervals: Literal["none", "pointwise", "bonferroni"] = "none"
    pictures: Whole = 2  # images of each setting whose pictures are kept
    floor_confidence: hints.Confidence = 0.9  # of the floor that data.calibration gives
    files: bool = True  # a certificate file for each image and setting, for invsmooth.verify


OPEN = {
    "algo": Open("algo", AlgoKeys, provided=("setup",), methods=("accumulate_gradients",)),
    "operator": Open("operator", OperatorKeys, provided=("ratio",), shared=True, methods=("A", "A_adjoint")),
    "estimator": Open("estimator", EstimatorKeys),
    "data": Open("data", DataKeys, provided=("root", "mirror", "crop"), methods=("files",)),
    "data.test": TEST_DATA,
    "attack": Open("attack", AttackKeys, shared=True, methods=("search", "cost")),
    "certify": Open("certify", CertifyKeys, shared=True, methods=("why_impossible", "uses", "certify")),
}


@dataclass
class CertificateConfig:
    units: Units = Units.matched


@dataclass
class TrainerConfig:
    accelerator: Annotated[str, hints.one_of("cpu", "gpu", "auto")] = MISSING
    devices: hints.Devices = 1
    strategy: Annotated[str, hints.one_of(*hints.STRATEGIES)] = "auto"
    precision: Annotated[str, hints.one_of(*hints.PRECISIONS)] = "32-true"  # of the training alone
    max_epochs: Count = MISSING
    max_steps: Count | None = None  # batches
    gradient_clip_val: Positive | None = None
    num_threads: hints.Threads | None = None  # CPU threads; null: torch's choice
    compile: bool = False  # torch.compile the estimator for training
    channels_last: bool | None = None  # memory format in training; null: where it is faster
    ema_decay: hints.Fraction | None = None  # e.g. 0.999: evaluate an exponential moving average of the weights
    progress_bar: bool = True


@dataclass
class Logger:
    """Beside metrics.csv (docs/logging.md)."""

    name: Annotated[str, hints.one_of("none", "csv", "wandb", "tensorboard", "mlflow")] = MISSING


@dataclass
class LoggerTracker(Logger):
    """What W&B and MLflow have in common."""

    group: str | None = None  # of runs; null: the sweep's name, for a single run its own
    tags: hints.Tags = field(default_factory=list)  # besides task, algorithm, data sets and units=paper
    log_model: bool = True  # keep the best checkpoint as an artefact


@dataclass
class LoggerWandb(LoggerTracker):
    project: hints.WandbProject = MISSING
    entity: str | None = None  # user or team; null: the account's default
    # null: online if there is an API key and the server answers, else offline
    mode: Annotated[str, hints.one_of("online", "offline", "disabled")] | None = None
    init_timeout: hints.Seconds = 30.0  # to wait for the server before the run starts
    finish_timeout: hints.Seconds = 300.0  # to wait for uploads at its end; what is left goes with `wandb sync`


@dataclass
class LoggerMlflow(LoggerTracker):
    experiment: str = MISSING
    tracking_uri: str | None = None  # of a server or database; null: files in ``folder``
    folder: str = MISSING


@dataclass
class Run:
    """``python -m invsmooth.train`` and ``python -m invsmooth.evaluate``."""

    # Sizes of network and training. auto: paper where the run uses a GPU, else small. evaluate: null, which takes that
    # of the checkpoint.
    scale: Annotated[str, hints.one_of("auto", "paper", "small")] | None = AUTO
    task: Task = MISSING
    algo: Annotated[dict[str, Any], OPEN["algo"]] = field(default_factory=OPEN["algo"].node)
    operator: Annotated[dict[str, Any], OPEN["operator"]] = field(default_factory=OPEN["operator"].node)
    estimator: Annotated[dict[str, Any], OPEN["estimator"]] = field(default_factory=OPEN["estimator"].node)
    data: Annotated[dict[str, Any], OPEN["data"]] = field(default_factory=OPEN["data"].node)
    attack: Annotated[dict[str, Any], OPEN["attack"]] = field(default_factory=OPEN["attack"].node)
    certify: Annotated[dict[str, Any], OPEN["certify"]] = field(default_factory=OPEN["certify"].node)
    certificate: CertificateConfig = field(default_factory=CertificateConfig)
    trainer: TrainerConfig = MISSING
    logger: Logger = MISSING
    seed: hints.Seed = 0
    report: bool = True  # tables and figures at the end of the run
    # What is computed is stored here and not computed again; null: no.
    cache: hints.Folder | None = "${root:}/outputs/cache"
    # plan: only say what there is to do, what is done and how long the rest would take.
    sweep: Annotated[str, hints.one_of("run", "plan")] = "run"
    resume: hints.File = None  # train: a checkpoint to go on from
    ckpt: hints.File = None  # evaluate: the trained network; train: weights to start from
    ckpt_prefix: str | None = None  # use the weights in ckpt whose name starts so, without it; null: all
    # Modules whose classes checkpoints may name, beside that of estimator._target_.
    trust: hints.Modules = field(default_factory=list)


@dataclass
class AuditKeys:
    """The search for the largest ||f(y) - f(y')|| / ||y - y'||."""

    n_images: Count = 2  # test images whose measurements the search starts from
    n_restarts: Count = 2  # starts from each
    n_iter: Count = 20  # power iterations of each start
    n_steps: Count = 40  # evaluations of the quotient after them
    # What is moved: y -> f(y), or z -> f(Az + b).
    threat: Annotated[str, hints.one_of("measurement", "signal", "both")] = "measurement"
    claim: NotNegative | None = None  # a constant to test, e.g. one that is published for the network


@dataclass
class Audit:
    """``python -m invsmooth.audit``. Without what only attacks, certificates and trainings need."""

    task: Task = MISSING
    algo: Annotated[dict[str, Any], OPEN["algo"]] = field(default_factory=OPEN["algo"].node)
    operator: Annotated[dict[str, Any], OPEN["operator"]] = field(default_factory=OPEN["operator"].node)
    estimator: Annotated[dict[str, Any], OPEN["estimator"]] = field(default_factory=OPEN["estimator"].node)
    data: Annotated[dict[str, Any], OPEN["data"]] = field(default_factory=OPEN["data"].node)
    trainer: TrainerConfig = MISSING
    audit: AuditKeys = field(default_factory=AuditKeys)
    seed: hints.Seed = 0
    report: bool = True  # table and figure at the end
    ckpt: hints.File = None  # the network to audit; null: the estimator as it is built
    ckpt_prefix: str | None = None  # use the weights in ckpt whose name starts so, without it; null: all
    trust: hints.Modules = field(default_factory=list)  # modules whose classes checkpoints may name


@dataclass
class Report:
    """``python -m invsmooth.report``."""

    runs: hints.Paths = None
    out: hints.NewFolder = MISSING
    # robustness: only the table of networks, clean, attacked and certified under one protocol. null: the whole report.
    table: Annotated[str, hints.one_of("robustness")] | None = None
    eps: NotNegative = 1.0  # by whose certified PSNR table=robustness is ordered
    cards: hints.NewFolder | None = None  # folder with the model cards that table=robustness names


@functools.cache
def register() -> None:
    """Put the schemas into Hydra's config store, where the files of ``conf/`` name them in their defaults."""
    # Hydra copies the whole store for each group of options that --help lists, 112 times. It has no need to: what the store
    # hands out is a copy.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    store = ConfigStore.instance()
    for name, node in (
        ("run", Run), ("audit", Audit), ("report", Report), ("task", Task), ("trainer", TrainerConfig),
        ("logger", Logger), ("wandb", LoggerWandb), ("mlflow", LoggerMlflow),
    ):  # fmt: skip
        store.store(group="hydra/schema", name=name, node=node)  # not of the group it is for: it is no option to choose
    resolvers.register()
