"""Whatever is in a checkpoint: no code of it runs, no module is imported for it, and there is one message with its name."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from invsmooth import evaluate
from invsmooth.config import schema
from invsmooth.config.validate import validate
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.estimators import ISTANetPP, load_checkpoint
from invsmooth.estimators.checkpoint import check_resumable, from_description
from invsmooth.pipeline.build import build_estimator
from tests.estimators.parts import Numbers, Wrapped, small

OURS = {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 1, "channels": 2}
FIRST = "phases.0.head_conv.weight"
PARTS = "tests.estimators.parts"
WHOLE = {
    "batches_seen": 3, "epoch": 0, "global_step": 3, "pytorch-lightning_version": "2", "optimizer_states": [],
    "lr_schedulers": [], "loops": {}, "callbacks": {},
}  # fmt: skip


def save(path: Path, description: Any = OURS, state: Any = None, **more: Any) -> Path:
    """A checkpoint of ours; ``state``: in place of the estimator's weights."""
    own = ISTANetPP(1, 2).state_dict() if state is None else state
    prefixed = {f"estimator.{k}": v for k, v in own.items()} if isinstance(own, dict) else own
    torch.save({"state_dict": prefixed, "hyper_parameters": {"estimator": description}} | more, path)
    return path


def refusal(path: Path, **options: Any) -> str:
    """What load_checkpoint says of a file that it refuses: one line that names the file, and no pages of text."""
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path, **options)
    text = str(error.value)
    assert text.startswith(f"{path} ")
    assert text.isprintable()
    assert len(text) < 1500
    return text


class Touch:
    """What a pickle may do: run a command."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.ran}",)


@pytest.mark.parametrize("kind", ["new", "old", "plain", "beside the weights"])
def test_no_code_in_a_file_runs(tmp_path: Path, kind: str) -> None:
    path, ran = tmp_path / "a.ckpt", tmp_path / "RAN"
    if kind == "beside the weights":
        save(path, callbacks=Touch(ran))
    elif kind == "plain":
        path.write_bytes(pickle.dumps(Touch(ran)))
    else:
        torch.save({"state_dict": Touch(ran)}, path, _use_new_zipfile_serialization=kind == "new")
    text = refusal(path)
    assert "cannot be read as a torch checkpoint" in text
    assert "weights_only" not in text  # torch's message says how to run it after all
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", os.urandom(2000), b"\x0a\0\0\0\0\0\0\0" + b'{"a":1}   ', None])
def test_broken_files(tmp_path: Path, content: bytes | None) -> None:
    whole = save(tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(whole[:5000] if content is None else content)
    assert "damaged, or no torch file" in refusal(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"_target_": "os.system", "command": "touch RAN"}, "names the class os.system.*trust=.os"),
        (
            {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.system", "command": "touch RAN"}]},
            "os.system",
        ),
        ({"_target_": "torch.nn.Sequential", "0": {"_target_": "os.system", "command": "touch RAN"}}, "os.system"),
        ({"_target_": "torch.hub.load", "repo": "x"}, "names the class torch.hub.load"),
        ({"_target_": "torchvision.nn.Net"}, "names the class torchvision"),
        ({"_target_": "invsmoothly.Net"}, "names the class invsmoothly"),
        # Found below torch.nn or invsmooth, but defined elsewhere; or no class of a module.
        ({"_target_": "torch.nn.modules.module.torch.hub.load", "repo": "x"}, r"is torch\.hub\.load"),
        ({"_target_": "invsmooth.verify.io.open", "file": "RAN", "mode": "w"}, "names the class invsmooth.verify.io"),
        ({"_target_": "invsmooth.estimators.load_checkpoint", "path": "b"}, "is no torch module class|no torch module"),
        ({"_target_": "torch.nn.functional.relu"}, "no torch module class"),
        ({"_target_": "torch.nn.Nothing"}, "cannot be imported"),
        ({"_target_": 5}, "no dotted name"),
        ({"_target_": "os; x"}, "no dotted name"),
        ({"n_phases": 1}, "names no class"),
        (["a"], "names no class"),
        ("\x1b[2J\n\u202e" + "x" * 10**6, "names no class"),
        (None, "names no class"),
        ({"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 3}, "cannot be made: torch.nn.Linear"),
        ({"_target_": "torch.nn.MultiheadAttention", "embed_dim": 3, "num_heads": 2}, "AssertionError"),
        (OURS | {"bogus": 1}, "cannot be made"),
        (OURS | {"n_phases": "1"}, "cannot be made"),
        (OURS | {"n_phases": 0}, "at least 1"),
        (OURS | {"_partial_": True}, "the key _partial_"),
        (OURS | {5: 1}, "the key 5"),
    ],
    ids=lambda v: str(v)[:60],
)
@pytest.mark.parametrize("trust", [(), ("invsmooth.estimators",)])
def test_descriptions_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, description: Any, message: str, trust: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = refusal(save(tmp_path / "a.ckpt", description), trust=trust)
    with pytest.raises(CheckpointError, match=message):
        raise CheckpointError(text)
    assert not Path("RAN").exists()


@pytest.mark.parametrize(
    "description",
    [
        {"_target_": "torch.nn.Linear", "in_features": 10**12, "out_features": 3},
        {"_target_": "torch.nn.Linear", "in_features": 10**12, "out_features": 3, "device": "cpu"},
        OURS | {"channels": 10**5},
    ],
)
def test_no_memory_is_taken_for_weights_that_are_not_there(tmp_path: Path, description: Any) -> None:
    assert "weights that do not fit" in refusal(save(tmp_path / "a.ckpt", description))


def test_layers_without_weights_are_not_made(tmp_path: Path) -> None:
    """They take memory on the meta device as well."""
    assert "names an estimator of more than" in refusal(save(tmp_path / "a.ckpt", OURS | {"n_phases": 2000}))


def test_weights_that_repeat_a_few_numbers_are_refused(tmp_path: Path) -> None:
    state = {k: torch.zeros(1).expand(v.shape) for k, v in ISTANetPP(1, 2).state_dict().items()}
    assert "larger than what it holds" in refusal(save(tmp_path / "a.ckpt", state=state))


def test_a_file_that_unpacks_to_more_is_refused(tmp_path: Path) -> None:
    small, packed = save(tmp_path / "a.ckpt"), tmp_path / "packed.ckpt"
    with zipfile.ZipFile(small) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry) + bytes(10**5))
    assert "unpacks to more than its own size" in refusal(packed)


def nested(v: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([v[0], v[1]], layout=torch.strided)


WRONG: dict[str, tuple[Any, str]] = {
    "nan": (lambda v: torch.full_like(v, torch.nan), f"not finite: {FIRST}"),
    "inf": (lambda v: torch.full_like(v, torch.inf), f"not finite: {FIRST}"),
    "too large for single precision": (
        lambda v: torch.full_like(v, 1e300, dtype=torch.float64),
        f"not finite: {FIRST}",
    ),
    "int": (lambda v: v.long(), f"{FIRST} is torch.int64 in place of torch.float32"),
    "complex": (lambda v: v.to(torch.complex64), f"{FIRST} is torch.complex64"),
    "sparse": (lambda v: v.to_sparse(), f"no dense tensor with numbers: {FIRST}"),
    "nested": (
        lambda v: torch.nested.nested_tensor([v[0], v[1]], layout=torch.jagged),
        f"no dense tensor with numbers: {FIRST}",
    ),
    "meta": (lambda v: v.to("meta"), f"no dense tensor with numbers: {FIRST}"),
    "text": (lambda v: "abc", f"a str among its weights: {FIRST}"),
    "shape": (lambda v: torch.zeros(7, 7), f"{FIRST} has shape (7, 7) in place of (2, 2, 3, 3)"),
    "expanded": (lambda v: torch.zeros(1).expand(10**12), f"{FIRST} has shape (1000000000000,)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_weights_are_named(tmp_path: Path, kind: str) -> None:
    change, message = WRONG[kind]
    state = ISTANetPP(1, 2).state_dict()
    assert message in refusal(save(tmp_path / "a.ckpt", state=state | {FIRST: change(state[FIRST])}))


def test_parts_without_end(tmp_path: Path) -> None:
    body: list[Any] = []
    body.append(body)
    assert "parts of parts without end" in refusal(save(tmp_path / "a.ckpt", OURS | {"channels": body}))
    assert "names no class" in refusal(save(tmp_path / "a.ckpt", body))


def test_weights_without_a_shape(tmp_path: Path) -> None:
    state = nn.Linear(2, 3).state_dict()
    lazy = {"_target_": "torch.nn.LazyLinear", "out_features": 3}
    assert "weight is no tensor, or has no shape yet" in refusal(save(tmp_path / "a.ckpt", lazy, state))


def test_missing_unknown_and_nameless_weights(tmp_path: Path) -> None:
    path, state = tmp_path / "a.ckpt", ISTANetPP(1, 2).state_dict()
    assert f"{FIRST} is missing" in refusal(save(path, state={k: v for k, v in state.items() if k != FIRST}))
    many = {f"z{i}\x1b[2J": torch.zeros(1) for i in range(1000)}
    assert r"z0\x1b[2J is unknown; z1\x1b[2J is unknown" in refusal(save(path, state=state | many))
    for content in ({5: torch.zeros(1)}, [1, 2], None):
        save(path, state={})
        torch.save(torch.load(path, weights_only=True) | {"state_dict": content}, path)
        assert "no text" in refusal(path) or "in the place of the weights" in refusal(path)
    for saved in (None, {}, 5):
        torch.save({"state_dict": {}, "hyper_parameters": saved}, path)
        assert "does not say which estimator" in refusal(path)


def test_other_precision_and_buffers(tmp_path: Path) -> None:
    """Harmless: double precision, counts, and infinities in a buffer (a mask). Not: a buffer that is not a number."""
    state = ISTANetPP(1, 2).state_dict()
    double = load_checkpoint(save(tmp_path / "a.ckpt", state={k: v.double() for k, v in state.items()}))
    assert all(torch.equal(v, state[k]) and v.dtype == torch.float32 for k, v in double.state_dict().items())
    norm = {"_target_": "torch.nn.BatchNorm2d", "num_features": 2}
    buffers: dict[str, Tensor] = nn.BatchNorm2d(2).state_dict()
    buffers["running_mean"] = torch.tensor([-torch.inf, 0])
    load_checkpoint(save(tmp_path / "b.ckpt", norm, buffers))
    buffers["running_mean"] = torch.tensor([torch.nan, 0])
    assert "not finite: running_mean" in refusal(save(tmp_path / "b.ckpt", norm, buffers))


WIDE = torch.zeros(32, 2, 3, 3)


@pytest.mark.parametrize(
    "content",
    [
        {}, {1: torch.zeros(1)}, {"a": 1}, [1, 2], torch.zeros(3),
        {"module.condition.fc1.weight": torch.zeros(32, 1)},
        {"module.condition.fc1.weight": torch.zeros(32, 1), "module.fcs.x.y": torch.zeros(1)},
        {"condition.fc1.weight": torch.zeros(32, 1), "fcs.0.head_conv.weight": WIDE, "fcs.3000000.z": torch.zeros(1)},
        {"module.condition.fc1.weight": torch.zeros(32, 1), "module.fcs.0.head_conv.weight": 5},
        {"Feature_Encoder1_fe.0.weight": torch.zeros(8, 1, 3, 3)},
        {"Feature_Encoder1_fe.0.weight": torch.zeros(8, 1, 3, 3), "delta_7": torch.zeros(1)},
        {"Feature_Encoder1_fe.0.weight": torch.zeros(8, 1, 3, 3), "delta_1": "x", "eta_1": torch.zeros(1)},
        {"Feature_Encoder1_fe.0.weight": torch.zeros(8, 1, 3, 3), "delta_1": torch.zeros(2), "eta_1": torch.zeros(1)},
        {"Feature_Encoder1_fe.0.weight": "x"},
    ],
    ids=range(14),
)  # fmt: skip
def test_odd_dictionaries(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    refusal(tmp_path / "a.pt")


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the current folder whose import leaves a file RAN."""
    package = tmp_path / "beside_package"
    package.mkdir()
    (package / "__init__.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'RAN')!r}).touch()\n")
    (package / "nets.py").write_text(
        "import os, torch\nclass Net(torch.nn.Module):\n    @classmethod\n    def plain(cls):\n        return cls()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("beside_package")]:
        del sys.modules[name]


def test_a_module_that_only_a_file_names_is_not_imported(beside: Path) -> None:
    path = save(beside / "a.ckpt", {"_target_": "beside_package.nets.Net"}, {})
    for trust in ((), ("beside",), ("beside_package.nets.Net.x",), ("package",), ("nets",)):
        text = refusal(path, trust=trust)
        for way in ("trust=[beside_package.nets]", "--trust beside_package.nets", "_target_=beside_package.nets.Net"):
            assert way in text
        assert not (beside / "RAN").exists()
    for trust in ("beside_package", "beside_package.nets", "beside_package.nets.Net"):
        assert type(load_checkpoint(path, trust=[trust])).__name__ == "Net"
    assert (beside / "RAN").exists()
    load_checkpoint(save(path, {"_target_": "beside_package.nets.Net.plain"}, {}), trust=["beside_package"])
    ran = {"_target_": "beside_package.nets.os.system", "command": "touch RAN_TOO"}
    assert "which is posix.system" in refusal(save(path, ran, {}), trust=["beside_package"])
    assert not (beside / "RAN_TOO").exists()


def test_the_command_line_imports_no_module_of_the_folder(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(beside / "a.ckpt", {"_target_": "beside_package.nets.Net"}, {})
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"] |= {
        "choices": {"task": "cs_small", "algo": "ord"},
        "operator": {"name": "block_gaussian", "seed": 0, "block": 33, "matrix": None},
    }
    torch.save(content, path)
    arguments = ["ckpt=a.ckpt", "task=cs_small", "data.limit=1", f"hydra.run.dir={beside}/run", "trainer.num_threads=1"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    with pytest.raises(SystemExit) as stop:
        evaluate.main()
    assert stop.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: a.ckpt names the class beside_package.nets.Net")
    assert not (beside / "RAN").exists()


def test_what_the_user_names_may_be_a_factory_and_have_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    made = small()
    loaded = load_checkpoint(save(path, {"_target_": f"{PARTS}.small"}, made.state_dict()), trust=[PARTS])
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in made.state_dict().items())
    assert "gives a str and no torch module" in refusal(
        save(path, {"_target_": f"{PARTS}.no_module"}, {}), trust=[PARTS]
    )
    assert "which is posix.system" in refusal(save(path, {"_target_": f"{PARTS}.system"}, {}), trust=[PARTS])
    body = {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.Linear", "in_features": 3,
                                                             "out_features": 2}]}  # fmt: skip
    nested = {"_target_": f"{PARTS}.Wrapped", "body": body, "name": "${oc.env:HOME}"}
    wrapped = Wrapped(nn.Sequential(nn.Linear(3, 2)))
    loaded = load_checkpoint(save(path, nested, wrapped.state_dict()), trust=["tests"])
    assert isinstance(loaded, Wrapped)
    assert loaded.name == "${oc.env:HOME}"  # nothing in a file is resolved
    numbers = load_checkpoint(
        save(path, {"_target_": f"{PARTS}.Numbers", "n": 3}, Numbers(3).state_dict()), trust=[PARTS]
    )
    assert len(numbers.state_dict()["weight"]) == 3


def test_estimators_without_weights_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert from_description({"_target_": "invsmooth.estimators.Ridge", "alpha": 0.5}, path).alpha == 0.5
    for huge in (
        {"_target_": "torch.nn.Linear", "in_features": 10**12, "out_features": 1},
        {"_target_": "torch.nn.BatchNorm2d", "num_features": 10**12, "affine": False},
    ):
        with pytest.raises(CheckpointError, match="more than"):
            from_description(huge, path)


def config(*overrides: str) -> Any:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose("train", ["task=cs_small", *overrides])


def test_an_estimator_that_cannot_be_loaded_again_is_refused_before_training() -> None:
    own = ["estimator=custom", f"estimator._target_={PARTS}.Wrapped"]
    linear = [
        "+estimator.body._target_=torch.nn.Linear",
        "+estimator.body.in_features=2",
        "+estimator.body.out_features=2",
    ]
    assert isinstance(build_estimator(config(*own, *linear), trains=True), Wrapped)
    foreign = [*own, "+estimator.body._target_=tests.certificates.nets.ReluNet", "+estimator.body.n=4"]
    build_estimator(config(*foreign), trains=True)  # the command names this class, too
    with pytest.raises(ConfigError, match=r"not loaded again: .*weight has shape"):
        build_estimator(config("estimator=custom", f"estimator._target_={PARTS}.Drifting"), trains=True)
    with pytest.raises(ConfigError, match=r"not loaded again: .*_extra_state is no tensor"):
        build_estimator(config("estimator=custom", f"estimator._target_={PARTS}.Counting"), trains=True)
    with pytest.raises(ConfigError, match=r"not loaded again: .*the key _convert_, .*take it out"):
        build_estimator(config(*own, *linear, "+estimator._convert_=all"), trains=True)


def test_trust_is_a_list_of_modules(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", {"_target_": f"{PARTS}.small"}, small().state_dict())
    given = [f"ckpt={path}"]
    with pytest.raises(CheckpointError, match="only a file names"):
        build_estimator(config(*given), trains=False)
    for named in (f"trust=[{PARTS}]", "trust=[tests]"):
        build_estimator(config(*given, named), trains=False)
    build_estimator(config(*given, "estimator=custom", f"estimator._target_={PARTS}.small"), trains=False)
    with pytest.raises(ConfigError, match=r"trust=\['a b'\] is not allowed; allowed: a list of modules"):
        validate(config("trust=['a b']"))


def test_resume_needs_a_whole_checkpoint_that_fits(tmp_path: Path) -> None:
    path, network = tmp_path / "a.ckpt", ISTANetPP(1, 2)
    cfg = config("estimator.n_phases=1", "estimator.channels=2", f"resume={path}")
    save(path, **WHOLE)
    build_estimator(cfg, trains=True)
    for name in WHOLE:
        save(path, **{k: v for k, v in WHOLE.items() if k != name})
        with pytest.raises(CheckpointError, match=f"a training can go on: {name} missing or of a wrong kind"):
            build_estimator(cfg, trains=True)
    save(path, **WHOLE, state=ISTANetPP(2, 2).state_dict(), description=OURS | {"n_phases": 2})
    with pytest.raises(CheckpointError, match=r"a\.ckpt has weights that do not fit"):
        check_resumable(path, network, ())
    path.write_text("text")
    with pytest.raises(CheckpointError, match="cannot be read"):
        build_estimator(cfg, trains=True)
