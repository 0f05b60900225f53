"""``invsmooth.audit`` from the command line to the files that it leaves, and the report of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from invsmooth import audit
from invsmooth.records.audits import read_audits
from invsmooth.report import find_runs
from invsmooth.reporting import report

QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]
SMALL = ["audit.n_images=1", "audit.n_restarts=1", "audit.n_iter=3", "audit.n_steps=5", "data.crop=22", "data.limit=2"]
NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, gain: float = 1.5):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(gain))

    def forward(self, y, operator):
        return self.weight * operator.A_adjoint(y)

class Lying(Net):
    def lipschitz(self, operator):
        return 1.2
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where a user would be, with a module of the user's, and what Hydra keeps for a process put back."""
    (tmp_path / "user_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("INVSMOOTH_ROOT", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    yield
    sys.modules.pop("user_nets", None)
    HydraConfig.instance().cfg = None
    GlobalHydra.instance().clear()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def command(*arguments: str) -> int:
        flags = [a for a in arguments if a.startswith("-")]  # Hydra wants them first
        monkeypatch.setattr(sys, "argv", ["audit", *flags, *QUIET, *(a for a in arguments if a not in flags)])
        try:
            audit.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return command


def custom(name: str) -> list[str]:
    return ["estimator=custom", f"estimator._target_=user_nets.{name}"]


def rows() -> pd.DataFrame:
    return read_audits(find_runs(["outputs"]))[0]


def test_a_lying_estimator_is_refuted(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SMALL, *custom("Lying"), "+estimator.gain=1.5") == 1
    (row,) = rows().to_dict("records")
    assert (row["verdict"], row["declared"], row["threat"]) == ("refuted", 1.2, "measurement")
    assert 1.49 < row["found"] <= 1.5
    (folder,) = find_runs(["outputs"])
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    expected = {"audit.parquet", "frontier.parquet", "pairs.pt", "worst.png", "run.json", "config.yaml"}
    assert expected | {"report/audit.md", "report/frontier.png"} <= files
    (pair,) = torch.load(folder / "pairs.pt", weights_only=True)
    moved = float((pair["f_u"] - pair["f_v"]).norm())
    assert (moved - 2 * pair["error"]) / float((pair["u"] - pair["v"]).norm()) == pytest.approx(row["found"], rel=1e-9)
    said = capsys.readouterr().out
    assert "refuted" in said
    assert f"run folder: {folder.resolve()}" in said


def test_a_claim_and_several_settings(run: Callable[..., int]) -> None:
    arguments = [*SMALL, *custom("Net"), "task=cs", "operator=block_gaussian", "operator.block=11"]
    assert run(*arguments, "operator.ratio=[0.1,0.3]", "audit.threat=both", "audit.claim=1.6", "report=false") == 0
    found = rows()
    assert found["ratio"].to_list() == [0.1, 0.1, 0.3, 0.3]
    assert found["threat"].to_list() == ["signal", "measurement"] * 2
    assert set(found["verdict"]) == {"not refuted"}
    assert found["declared"].isna().all()
    assert found["found"].between(1.48, 1.5 + 1e-6).all()
    assert found["operator_sha256"].nunique() == 2
    assert run(*SMALL, *custom("Net"), "audit.claim=1.4", "report=false") == 1
    assert set(rows()["verdict"]) == {"not refuted", "refuted"}


def test_ours_and_the_report_of_several_audits(run: Callable[..., int], tmp_path: Path) -> None:
    lipnet = ["estimator=lipnet", "estimator.n_steps=1", "estimator.filters=4", "estimator.kernel=3"]
    assert run("-m", *SMALL, *lipnet, "operator.sigma_b=5,15") == 0
    assert run(*SMALL, "estimator=matched_filter", "operator.sigma_b=5", "report=false") == 0
    assert sorted(rows()["verdict"]) == ["proven", "proven", "proven"]
    files = report(find_runs(["outputs"]), tmp_path / "report")
    assert {p.name for p in files} == {"audit.md", "frontier.png", "frontier.pdf"}
    lines = (tmp_path / "report" / "audit.md").read_text(encoding="utf-8").splitlines()
    assert sum("invsmooth.estimators" in line for line in lines) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit.n_images=0"], "audit.n_images=0 is not allowed; allowed: a whole number >= 1"),
        (["audit.threat=noise"], "audit.threat=noise is not allowed; allowed: measurement, signal, both"),
        (["audit.claim=-1"], "audit.claim=-1"),
        (["attack.eps=1"], "attack.eps is no key of the config"),
        (["ckpt=none.ckpt"], "none.ckpt"),
        (["estimator=custom", "estimator._target_=user_nets.No"], "user_nets.No"),
        (["data=folder", "data.root=nowhere"], "nowhere"),
        (["operator.ratio=0.5"], "operator.ratio=0.5 is not allowed"),
        ([*custom("Net"), "data.crop=5000"], "data.crop=5000"),
    ],
)
def test_mistakes(run: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.out + printed.err
    assert not list(Path("outputs").rglob("*"))
