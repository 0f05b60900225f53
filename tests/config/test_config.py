from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

import invsmooth
from invsmooth.certificates.certifier import Certifier
from invsmooth.certificates.error import Error
from invsmooth.config import cli, schema
from invsmooth.config.parts import build, load_class, options, packaged, parameter_names, signature
from invsmooth.config.schema import OPEN
from invsmooth.config.validate import validate
from invsmooth.core.errors import ConfigError
from invsmooth.operators import Identity
from invsmooth.pipeline.build import build_estimator, build_evaluation, build_module, build_settings

CONF = Path(invsmooth.__file__).parent / "conf"
OPTIONS = [
    f"{path.relative_to(CONF).parts[0]}={path.relative_to(CONF / path.relative_to(CONF).parts[0]).with_suffix('')}"
    for path in sorted([*CONF.glob("*/*.yaml"), *CONF.glob("*/*/*.yaml")])
    if path.parent.name not in ("estimator", "test", "launcher") and path.stem != "custom"
] + [f"data/test={path.stem}" for path in sorted(CONF.glob("data/test/*.yaml")) if path.stem != "custom"]
"""Every option of every group but the estimators and those for a class of the user's."""
ALGORITHMS = ("ord", "jcb", "adv", "smt_adv", "smt_grad")


def config(*overrides: str, root: str = "train") -> DictConfig:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose(root, list(overrides))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_is_valid(option: str, tmp_path: Path) -> None:
    root = [f"data.root={tmp_path}"]
    needs = {
        "data=folder": root,
        "data/test=folder": root,
        "trainer=gpu": None,
        "trainer=ddp": ["trainer.accelerator=cpu"],
    }
    more = needs.get(option, [])
    if more is None:
        more = ["trainer.accelerator=auto"]
    validate(config(option, *more))


@pytest.mark.parametrize(
    "estimator",
    [
        "crr",
        "dpdnn",
        "dpdnn_small",
        "equilibrium",
        "identity",
        "istanetpp",
        "istanetpp_small",
        "lipnet",
        "lipnet_small",
        "lmmse",
        "matched_filter",
        "null_space",
        "null_space_small",
        "ridge",
        "tv",
        "wavelet",
        "wiener",
    ],
)
@pytest.mark.parametrize("task", ["cs", "denoise"])
def test_every_estimator_is_built_for_both_tasks(estimator: str, task: str) -> None:
    cfg = config(f"task={task}", f"estimator={estimator}")
    validate(cfg)
    if task == "cs" and estimator.removesuffix("_small") in ("crr", "identity", "lipnet", "tv", "wavelet", "wiener"):
        with pytest.raises(ConfigError, match=r"estimator: .* not for BlockGaussian"):
            build_module(cfg, build_estimator(cfg, trains=True))
        return
    module = build_module(cfg, build_estimator(cfg, trains=True))
    assert module.batches_seen == 0


@pytest.mark.parametrize("task", ["inpainting", "deblurring", "super_resolution", "mri"])
def test_networks_that_work_on_images_are_built_for_every_task(task: str) -> None:
    for estimator in ("dpdnn", "istanetpp", "equilibrium", "ridge"):
        cfg = config(f"task={task}", f"estimator={estimator}", "scale=small")
        validate(cfg)
        built = build_estimator(cfg, trains=True)
        if estimator != "ridge":
            build_module(cfg, built)
    for estimator in ("lmmse", "null_space", "lipnet", "tv", "wavelet"):
        cfg = config(f"task={task}", f"estimator={estimator}", "scale=small")
        with pytest.raises(ConfigError, match=r"estimator: .* not for "):
            build_module(cfg, build_estimator(cfg, trains=True))


def test_lmmse_takes_ratios_and_block_of_the_operator() -> None:
    for overrides, ratios, block in (
        (["task=cs", "scale=paper"], [0.1, 0.2, 0.3, 0.4, 0.5], 33),
        (["task=cs", "scale=small"], [0.1, 0.3], 33),
        (["task=cs", "operator.block=11", "operator.train_ratio=0.3"], [0.3], 11),
        (["task=denoise"], [1.0], 8),
    ):
        net = build_estimator(config(*overrides, "estimator=lmmse", "estimator.limit=3"), trains=True)
        assert (net.ratios, net.maps[0].block, net.maps[0].limit) == (ratios, block, 3)
    for wrong, message in (("limit=0", r"estimator\.limit=0.*> 0"), ("limits=3", "did you mean estimator.limit?")):
        with pytest.raises(ConfigError, match=message):
            validate(config("estimator=lmmse", f"+estimator.{wrong}" if "limits" in wrong else f"estimator.{wrong}"))


PRESETS = [
    (task, algo, [f"task={task}", f"algo={algo}", f"data={data}", "scale=paper"])
    for task, data in (("cs", "train400"), ("denoise", "div2k")) for algo in ALGORITHMS
] + [
    (task, algo, [f"task={task}_small", f"algo={algo}{'' if algo in ('ord', 'jcb') else '_small'}"])
    for task in ("cs", "denoise") for algo in ALGORITHMS
]  # fmt: skip
"""The commands of README and docs: the paper's size, and one for two cores."""


@pytest.mark.parametrize(("task", "algo", "overrides"), PRESETS)
def test_a_preset_for_each_algorithm_and_task(task: str, algo: str, overrides: list[str]) -> None:
    cfg = config(*overrides)
    validate(cfg)
    module = build_module(cfg, build_estimator(cfg, trains=True))
    assert type(module).__name__.lower() == f"{algo.replace('_', '')}training"
    assert (cfg.task.name, cfg.algo.name) == (task, algo)


def test_old_names_are_answered_with_the_new_ones() -> None:
    """The twenty experiments that multiplied groups, and renamed keys: on the command line and in a file."""
    for number, (task, algo, overrides) in enumerate(PRESETS):
        with pytest.raises(HydraException) as error:
            config(f"experiment={'paper' if number < 10 else 'small'}/{task}_{algo}")
        said = cli.message(error.value)
        assert said.endswith(f"is no longer an option; the same config is {' '.join(overrides)}")
    with pytest.raises(HydraException) as error:
        config("certify.bands=pointwise")
    assert (
        cli.message(error.value)
        == "certify.bands is now called certify.pixel_intervals: write certify.pixel_intervals=…"
    )
    with pytest.raises(ConfigError, match=r"^certify\.bands is now called certify\.pixel_intervals"):
        validate(config("+certify.bands=pointwise"))


def test_data_sets() -> None:
    """SPEC section 7: what each trains, validates and tests on, and the crops."""
    expected = {
        ("data=bundled",): ("bundled", "bundled", 256, "bundled", 256),
        ("data=div2k",): ("div2k", "div2k", 384, "bsd68", 256),
        ("data=train400",): ("train400", "set12", None, "set11", None),
        ("data=train400", "data/test=bsd68"): ("train400", "set12", 256, "bsd68", 256),
        ("data=bsd68",): ("train400", "set12", 256, "bsd68", 256),
        ("data=set11",): ("train400", "set12", None, "set11", None),
        ("data=set12",): ("train400", "bsd68", None, "set12", None),
        ("data=imagenet",): ("train400", "set12", 256, "imagenet", 256),
        ("data=div2k", "data/test=div2k", "data.val=holdout"): ("div2k", "holdout", 384, "div2k", 384),
        ("data=set11", "data.crop=99"): ("train400", "set12", 99, "set11", 99),
    }
    for overrides, (train, val, val_crop, test, crop) in expected.items():
        data = config(*overrides).data
        validate(config(*overrides))
        assert (data.name, data.val, data.val_crop, data.test.name, data.crop) == (train, val, val_crop, test, crop)


def test_hyper_parameters_of_the_algorithms() -> None:
    """SPEC's table: the attack of training is the paper's at 256 × 256, scaled to the patch by the side."""
    denoise, cs = (config("algo=smt_adv", f"task={task}", "scale=paper").algo for task in ("denoise", "cs"))
    assert (denoise.n_iter, denoise.eps, denoise.step_size) == (100, 5 * 40 / 256, 0.4 * 40 / 256)
    assert (cs.n_iter, cs.eps, cs.step_size) == (150, 33 / 256, pytest.approx(0.2 * 33 / 256))
    for algo in (denoise, cs, config("algo=smt_grad", "scale=paper").algo):
        assert (algo.n_samples, algo.sigma) == (15, 10)
    assert config("algo=smt_grad").algo.t_step == 6
    assert config("algo=jcb").algo.gamma == 20
    assert config("algo=adv", "algo.eps=0.5", "task=cs").algo.eps == 0.5


def test_a_task_is_complete_by_itself() -> None:
    """SPEC's table of hyper-parameters."""
    denoise, cs = (config("algo=ord", f"task={task}", "scale=paper") for task in ("denoise", "cs"))
    for cfg, expected in ((denoise, (100, 32, 5e-4, 40, 32000)), (cs, (100, 64, 1e-4, 33, 10000))):
        task = cfg.task
        assert (task.epochs, task.batch_size, task.learning_rate, task.patch_size, task.n_patches) == expected
    assert denoise.estimator._target_.endswith("DPDNN")
    assert (denoise.operator.name, denoise.operator.train_sigma_b) == ("identity", 15)
    assert cs.estimator._target_.endswith("ISTANetPP")
    assert (cs.operator.name, list(cs.operator.train_ratio)) == ("block_gaussian", [0.1, 0.2, 0.3, 0.4, 0.5])
    assert (cs.operator.sigma_b, cs.operator.train_sigma_b) == (0, 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attack.eps=-1", "attack.eps=-1 is not allowed; allowed: numbers >= 0"),
        ("attack.eps=[0,-0.5]", r"attack.eps=\[0, -0.5\]"),
        ("attack.eps=[]", "attack.eps"),
        ("attack.eps=[1,1]", "no two equal"),
        ("attack.eps=on", "attack.eps"),
        ("attack.n_iter=0", "attack.n_iter=0"),
        ("attack.schedule=linear", "allowed: constant, cosine"),
        ("attack.normalize=false", "attack: step_size=None is not allowed with normalize=False"),
        (
            "attack.name=fgsm",
            "allowed: pgd; to choose another, attack=OPTION: apgd, noise, pgd",
        ),
        ("attack.target=mode", "attack.target=mode is not allowed; allowed: base, mean, median"),
        ("attack.n_samples=0", "attack.n_samples=0 is not allowed; allowed: a whole number >= 1"),
        ("attack.draws=other", "attack.draws=other is not allowed; allowed: fresh, fixed"),
        ("attack.n_around=0", "attack.n_around=0"),
        ("attack.chunk_size=0", "attack.chunk_size=0"),
        ("attack.check_samples=-1", "attack.check_samples=-1 is not allowed; allowed: a whole number >= 0"),
        ("certify.sigma=-5", "certify.sigma=-5"),
        ("certify.n_samples=0", "certify.n_samples=0 is not allowed; allowed: a whole number >= 1"),
        ("certify.confidence=1", "certify.confidence=1"),
        ("certify.confidence=99", "write 0.99 for 99 %"),
        (
            "certify.certifiers=[discrepancy,mode]",
            "certify.certifiers=mode is not allowed; allowed: one of or a list of best, center",
        ),
        ("certify.certifiers=[error,error]", "certify.certifiers"),
        ("certify.certifiers=radius", r"certify.threshold has no value; allowed: a number > 0 \(MSE\)"),
        ("certify.threshold=0.1", "certify.threshold=0.1 has no effect with certify=discrepancy, which takes none"),
        ("certify.over_eps=all", "certify.over_eps=all is not allowed; allowed: none, bonferroni, dkw"),
        ("certify.over_sigma=dkw", "certify.over_sigma=dkw"),
        ("certify.over_images=yes", "certify.over_images=yes"),
        (
            "certify.pixel_intervals=all",
            "certify.pixel_intervals=all is not allowed; allowed: none, pointwise, bonferroni",
        ),
        ("operator.sigma_b=-1", "operator.sigma_b=-1"),
        ("operator.ratio=0", "operator.ratio=0"),
        ("operator.ratio=50", "write 0.5 for 50 %"),
        ("operator.ratio=0.5", "operator.ratio=0.5 is not allowed: .*Identity takes no ratio, so it is 1"),
        ("operator.seed=1", "operator.seed=1 has no effect with operator=identity, which takes none"),
        ("ckpt=no.ckpt", "ckpt=no.ckpt: there is no such file"),
        ("resume=no.ckpt", "resume=no.ckpt"),
        ("data.root=/no/folder", "data.root=/no/folder"),
        ("data=folder", "data.root has no value"),
        ("data/test=folder", "data.test.root has no value"),
        ("data.test.root=/no/folder", "data.test.root=/no/folder: there is no such folder"),
        (
            "data.name=set11",
            "data.name=set11 is not allowed; allowed: bundled; to choose another, data=OPTION: bundled, div2k, folder",
        ),
        (
            "data.val=train400",
            "data.val=train400 is not allowed; allowed: holdout, bsd68, bundled, div2k, folder",
        ),
        (
            "data.test.name=best",
            "data.test.name=best is not allowed; allowed: bundled; to choose another, data/test=OPTION: bsd68, bundled",
        ),
        ("data.test.count=5", "data.test.count=5 has no effect with data/test=bundled, which takes none"),
        ("data.val_crop=0", "data.val_crop=0"),
        ("data.limit=0", "data.limit=0"),
        ("trainer.max_steps=0", "trainer.max_steps=0"),
        ("trainer.accelerator=tpu", "allowed: cpu, gpu, auto"),
        (
            "+attack.n_stepz=3",
            r"attack.n_stepz is no parameter of .*PGD; it takes n_iter, .*did you mean attack.step_size\?",
        ),
        ("+atack=3", "did you mean attack?"),
        ("+estimator.width=3", r"estimator.width is no parameter of .*DPDNN; it takes n_steps"),
        ("estimator._target_=no.such.Net", "cannot be imported"),
        ("estimator=custom", "estimator._target_ has no value"),
        ("+algo.n_stepz=3", "algo.n_stepz is no parameter of .*OrdTraining; it takes compute_match, t_step"),
        ("trainer.ema_decay=1", "trainer.ema_decay=1"),
    ],
)
def test_bad_values_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(config(override))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["attack=apgd", "attack.schedule=constant"],
            "attack.schedule=constant has no effect with attack=apgd, which takes",
        ),
        (["attack=apgd", "attack.keep=last"], "n_iter, step_size, init, restarts$"),
        (["attack=noise", "attack.step_size=0.1"], "attack.step_size=0.1 has no effect with attack=noise"),
        (["attack=noise", "attack.init=sphere"], "which takes n_iter, keep$"),
        (["certify=radius", "certify.threshold=0"], "certify.threshold=0 is not allowed"),
        (
            ["certify=radius", "certify.radius_of=mean"],
            "certify.radius_of=mean is not allowed; allowed: error, discrepancy",
        ),
        (["certify=mean", "certify.n_centre=1"], "certify.n_centre=1 is not allowed; allowed: .*>= 2"),
        (["certify=mean", "certify.anytime=true"], "certify.anytime=true has no effect with certify=mean"),
        (
            ["certify.certifiers=[error,mean]", "certify.n_pred=9"],
            "certify.n_pred=9 has no effect with certify=error, mean",
        ),
        (["task=cs", "operator.matrix=no.npy"], r"operator.matrix=no.npy: there is no such file \(a .npy or .mat file"),
        (["task=cs", "operator.block=0"], "operator.block=0 is not allowed; allowed: a whole number >= 1"),
        (["task=cs", "operator.seed=1.5"], "operator.seed=1.5 is not allowed; allowed: a whole number"),
        (["data/test=imagenet", "data.test.classes=[]"], "data.test.classes"),
        (["data/test=imagenet", "data.test.count=0"], "data.test.count=0"),
        (["data.test._target_=invsmooth.data.sets.Train400", "data.test.name=train400"], "no images to test on"),
        (
            ["algo=jcb", "trainer.compile=true"],
            "trainer.compile=true is not allowed with algo=jcb: torch.compile has no forw",
        ),
    ],
)
def test_parameters_of_the_chosen_class(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(config(*overrides))


@pytest.mark.parametrize(
    ("attack", "settings"),
    [
        ("pgd", {"n_iter": 20, "schedule": "cosine", "keep": "best", "history": 4}),
        ("pgd_paper", {"n_iter": 150, "step_size": 0.2, "schedule": "constant", "keep": "last", "normalize": True}),
        ("apgd", {"n_iter": 20, "step_size": None, "init": "zero", "restarts": 1}),
        ("noise", {"n_iter": 10, "keep": "best"}),
    ],
)
@pytest.mark.parametrize("target", ["base", "mean", "median"])
def test_every_attack_on_every_target(attack: str, settings: dict, target: str) -> None:
    cfg = config(f"attack={attack}", f"attack.target={target}", "attack.n_samples=4", "certify.quantile=0.9")
    validate(cfg)
    plan = build_evaluation(cfg, 1)
    assert plan.attack.name == attack.removesuffix("_paper")
    assert settings.items() <= vars(plan.attack).items()
    assert (plan.target.kind, plan.target.n_samples, plan.target.q) == (target, 4, 0.9)


def test_a_smoothed_target_is_attacked_for_each_sigma() -> None:
    cells = ["attack.eps=[0,0.5]", "certify.sigma=[0,25.5,51]"]
    mean, base = (build_evaluation(config(f"attack.target={target}", *cells), 1) for target in ("mean", "base"))
    assert [mean.target_of(0.5, s).sigma for s in mean.sigma] == pytest.approx([0, 0.1, 0.2])
    assert len({base.target_of(0.5, s) for s in base.sigma}) == 1
    assert len({mean.target_of(0, s) for s in mean.sigma}) == 1  # there is nothing to attack


@pytest.mark.parametrize(
    "override",
    [
        "attack.epz=1",
        "algo=best",
        "algo.epz=1",
        "seed=abc",
        "certificate.units=wrong",
        "trainer.max_epochs=ten",
        "tasc=cs",
    ],
)
def test_unknown_names_and_wrong_types_do_not_compose(override: str) -> None:
    with pytest.raises((HydraException, OmegaConfBaseException)):
        config(override)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        validate(config("attack.eps=-1", "certify.n_samples=0"))
    assert len(str(error.value).splitlines()) == 2


def test_training_from_given_weights(tmp_path: Path) -> None:
    from invsmooth.training import OrdTraining

    small = ["task=cs_small", "estimator.n_phases=2", "estimator.channels=4"]
    cfg = config(*small)
    trained = build_module(cfg, build_estimator(cfg, trains=True))
    assert isinstance(trained, OrdTraining)
    path = tmp_path / "a.ckpt"
    description = {"estimator": {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 2, "channels": 4}}
    torch.save({"state_dict": trained.state_dict(), "hyper_parameters": description}, path)
    again = build_estimator(config(*small, f"ckpt={path}", "algo=adv"), trains=True)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in trained.estimator.state_dict().items())
    with pytest.raises(ConfigError, match="does not fit the estimator"):
        build_estimator(config("task=cs_small", f"ckpt={path}"), trains=True)


def test_single_values_and_lists_mean_the_same() -> None:
    assert build_evaluation(config("attack.eps=1", "certify.sigma=5"), 1).eps == [1.0]
    settings = build_settings(config("task=cs", "operator.ratio=[0.1,0.3]", "operator.sigma_b=[0,5]").operator)
    assert [(s.ratio, s.sigma_b * 255) for s in settings] == [(0.1, 0), (0.1, 5), (0.3, 0), (0.3, 5)]


def test_impossible_cells_are_known_beforehand() -> None:
    overrides = ["attack.eps=[0,0.1,1]", "certify.sigma=[25.5]", "certify.n_samples=50"]
    matched = list(build_evaluation(config(*overrides), 1).impossible())
    assert len(matched) == 1
    assert matched[0].startswith("discrepancy at eps = 1, sigma = 25.5: no certificate: eps/sigma = 10 is above 1.353")
    assert list(build_evaluation(config(*overrides, "certificate.units=paper"), 1).impossible()) == []


def test_impossible_cells_of_every_certifier() -> None:
    """Each has its own limit; the mean has none. Corrections shrink it."""
    ratios = [1.2, 1.6, 2.0]
    eps = [r * 25.5 / 255 for r in ratios]
    base = [f"attack.eps={eps}", "certify.sigma=25.5", "certify.n_samples=100", "certify.threshold=0.01"]

    def refused(certifier: str, *more: str) -> set[float]:
        plan = build_evaluation(config(*base, f"certify.certifiers={certifier}", *more), 50)
        return {r for r, e in zip(ratios, eps, strict=True) if plan.why_impossible(plan.certifiers[0], e, 0.1)}

    # S = 100 certifies 1.695 at 0.99 (ERRATA 1), 1.50 for center, less where more is to hold together.
    assert refused("discrepancy") == refused("error") == refused("radius") == {2.0}
    assert refused("mean") == set()
    assert refused("center") == {1.6, 2.0}
    assert refused("error", "certify.over_images=bonferroni") == {1.6, 2.0}
    assert refused("error", "certify.over_eps=dkw") == {1.2, 1.6, 2.0}
    assert refused("error", "certify.over_eps=bonferroni") == {1.6, 2.0}
    # No band joins the measurements of discrepancy: each radius pays by Bonferroni, with its exact rank.
    assert refused("discrepancy", "certify.over_eps=dkw") == {1.6, 2.0}


def test_every_key_has_a_schema() -> None:
    """A typo is found by Hydra itself in the closed groups, and by the check of the config in the open ones."""
    cfg = config()
    typed = {k for k in cfg if OmegaConf.get_type(cfg, k) not in (dict, int, bool, None, type(None))}
    assert typed >= {"task", "certificate", "trainer", "logger"}
    for group in ("operator", "data", "data.test", "algo", "attack", "certify", "estimator"):
        with pytest.raises(ConfigError, match=rf"^{group}\.typo is no parameter of "):
            validate(config(f"+{group}.typo=1"))


@pytest.mark.parametrize("group", [g for g in OPEN if g not in ("estimator", "data")])
def test_every_free_parameter_of_ours_is_a_key_of_its_option(group: str) -> None:
    """So that it can be typed without a plus. Its value there is the class's own default, but for the presets."""
    presets = {"n_iter", "step_size", "schedule", "eps", "sigma", "n_samples", "threshold", "t_step", "history", "init",
               "antithetic", "physics"}  # fmt: skip
    for option, target in packaged(OPEN[group].folder).items():
        kind = load_class(target, group)
        names = set(parameter_names(kind, OPEN[group].provided))
        node = options(OPEN[group].folder)[option]
        inherited = {k for parent in node.get("defaults", []) if parent != "_self_" and isinstance(parent, str)
                     for k in options(OPEN[group].folder)[parent]}  # fmt: skip
        assert names <= {*map(str, node), *inherited}, option
        for key in names & set(map(str, node)) - presets:
            assert node[key] == signature(kind)[key].default, f"{option}: {key}"


def test_a_module_without_parameters_takes_none_also_after_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signature(Identity) == {}
    own = nn.Module.__init__

    def tagging(self: nn.Module, *arguments: Any, **keywords: Any) -> None:  # as torch.compile does
        own(self, *arguments, **keywords)

    monkeypatch.setattr(nn.Module, "__init__", tagging)
    assert signature(Identity) == {}


def test_a_class_of_the_users_in_each_group() -> None:
    here = "tests.config.test_parts"
    cfg = config("operator=custom", f"operator._target_={here}.Mask", "+operator.every=3", "operator.ratio=0.5")
    validate(cfg)
    assert vars(build("operator", cfg.operator, OPEN["operator"].keys, ratio=0.5))["every"] == 3
    for group in ("attack", "algo", "data/test", "certify"):
        node = group.replace("/", ".")
        with pytest.raises(ConfigError, match=rf"^{node}\._target_ has no value; give the dotted path of a class"):
            validate(config(f"{group}=custom"))
        chosen = [f"{group}=custom", f"{node}._target_={here}.Mask"]
        with pytest.raises(ConfigError, match=rf"{node}\.every has no value; allowed: a whole number"):
            validate(config(*chosen))
        with pytest.raises(ConfigError, match=rf"{node}\.evry is no parameter of .*did you mean {node}\.every"):
            validate(config(*chosen, f"+{node}.evry=2"))


class NoFile(Error):
    name = "no_file"
    record = Certifier.record


@pytest.mark.parametrize(
    ("node", "target", "method"),
    [
        ("operator", "invsmooth.operators.LinearOperator", "A_adjoint"),
        ("attack", "tests.config.test_parts.Mask", "cost"),
        ("algo", "invsmooth.training.ReconstructionModule", "accumulate_gradients"),
        ("data.test", "tests.config.test_parts.Mask", "files"),
        ("certify", "invsmooth.certificates.certifier.Certifier", "why_impossible"),
    ],
)
def test_a_class_without_a_method_is_refused_before_any_work(node: str, target: str, method: str) -> None:
    with pytest.raises(ConfigError, match=rf"{node}\._target_=\S+ has no method {method}; docs/extending.md"):
        validate(config(f"{node.replace('.', '/')}=custom", f"{node}._target_={target}"))


def test_a_certifier_without_a_record_goes_without_certificate_files() -> None:
    chosen = ["certify=custom", f"certify._target_={__name__}.NoFile"]
    with pytest.raises(ConfigError, match=r"certify\.files=true: no_file has no record; set certify\.files=false"):
        validate(config(*chosen))
    validate(config(*chosen, "certify.files=false"))
