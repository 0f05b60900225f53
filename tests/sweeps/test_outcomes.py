"""What is said of a sweep at its end, from the folders of its jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from invsmooth import reporting
from invsmooth.core.errors import CertificateViolation, ConfigError
from invsmooth.sweeps import report_at_end as sweep
from invsmooth.sweeps.jobs import EARLIER, OVERRIDES
from invsmooth.sweeps.outcomes import (
    clear_failure,
    exit_code,
    of_earlier_commands,
    outcomes,
    summary,
    write_failure,
    write_lost,
)
from invsmooth.sweeps.report_at_end import ReportAtSweepEnd
from tests.reporting.declared import DECLARED
from tests.reporting.made import row


def job(root: Path, name: str, status: str | None, error: BaseException | None = None, code: int = 1) -> Path:
    """The folder of a job as it is left behind."""
    folder = root / name
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("- algo=adv\n- attack.eps=[0,1]")
    if status:
        (folder / "run.json").write_text(json.dumps({"status": status}))
    if error:
        write_failure(folder, error, code)
    return folder


def ending(root: Path, mode: RunMode = RunMode.MULTIRUN) -> DictConfig:
    hydra = {"sweep": {"dir": str(root)}, "mode": mode, "runtime": {"output_dir": str(root / "0_a")},
             "job": {"num": 0}, "overrides": {"task": ["algo=adv", "attack.eps=[0,1]"]}}  # fmt: skip
    return OmegaConf.create({"report": True, "sweep": "run", "hydra": hydra})


def test_how_jobs_ended(tmp_path: Path) -> None:
    job(tmp_path, "10_late", "failed", ValueError("two\nlines"))
    job(tmp_path, "0_fine", "finished")
    job(tmp_path, "1_killed", "running")
    job(tmp_path, "2_killed_early", None)
    job(tmp_path, "3_mistake", None, ConfigError("eps=-1 is not allowed"), code=2)
    (tmp_path / "report").mkdir()
    ended = outcomes(tmp_path)
    assert [(o.folder.name, o.exit_code) for o in ended] == [
        ("0_fine", 0), ("1_killed", 1), ("2_killed_early", 1), ("3_mistake", 2), ("10_late", 1)
    ]  # fmt: skip
    told = "\n".join(summary(ended))
    assert told.startswith("1 of 5 jobs finished, 4 did not:\n  1_killed: algo=adv 'attack.eps=[0,1]'\n")
    assert f"    folder: {tmp_path / '3_mistake'}\n    error: ConfigError: eps=-1 is not allowed" in told
    assert told.endswith("    error: ValueError: two\n      lines")
    assert told.count("died and left no error") == 2
    assert [exit_code(ended[:1]), exit_code([ended[3]]), exit_code(ended)] == [0, 2, 1]


@pytest.mark.parametrize(("error", "code"), [(ConfigError("a key"), 2), (CertificateViolation("a row"), 1)])
def test_a_failed_job_is_noted_and_the_sweep_goes_on(error: Exception, code: int, tmp_path: Path) -> None:
    job(tmp_path, "0_a", None)
    done = JobReturn(status=JobStatus.FAILED, _return_value=error)
    ReportAtSweepEnd().on_job_end(ending(tmp_path), done)
    assert done.return_value is None  # Hydra's sweeper would raise it here
    (found,) = outcomes(tmp_path)
    assert (found.error, found.exit_code) == (f"{type(error).__name__}: {error}", code)
    ReportAtSweepEnd().on_job_start(ending(tmp_path))
    assert outcomes(tmp_path)[0].died
    alone = JobReturn(status=JobStatus.FAILED, _return_value=error)
    ReportAtSweepEnd().on_job_end(ending(tmp_path, RunMode.RUN), alone)
    with pytest.raises(type(error)):
        _ = alone.return_value


def test_rows_are_those_of_the_jobs_that_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They stay, and the summary is printed, if the report fails."""
    from invsmooth.records.rows import write_rows

    for name, status in (("0_a", "finished"), ("1_b", "running")):
        write_rows(job(tmp_path, name, status) / "results.parquet", [row(run_id=name)], DECLARED)

    def broken(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(reporting, "report", broken)
    with pytest.raises(SystemExit) as end:
        ReportAtSweepEnd().on_multirun_end(ending(tmp_path))
    assert end.value.code == 1
    assert set(pd.read_parquet(tmp_path / "results.parquet")["run_id"]) == {"0_a"}
    assert "1 of 2 jobs finished" in capsys.readouterr().out


def test_a_job_that_was_lost_before_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(tmp_path, "0_a", "finished")
    ReportAtSweepEnd().on_multirun_end(ending(tmp_path))
    write_lost(tmp_path, 1, ["algo=adv", "seed=1"], RuntimeError("job 17_1 was cancelled"))
    with pytest.raises(SystemExit) as end:
        ReportAtSweepEnd().on_multirun_end(ending(tmp_path))
    assert end.value.code == 1
    assert "1 of 2 jobs finished, 1 did not:\n  1_lost: algo=adv seed=1\n" in capsys.readouterr().out
    clear_failure(job(tmp_path, "1_b", None))  # it starts in a second try
    assert [o.folder.name for o in outcomes(tmp_path)] == ["0_a", "1_b"]


@pytest.mark.parametrize("launcher_fails", [False, True])
def test_a_sweep_whose_launcher_fails_is_concluded_all_the_same(launcher_fails: bool, tmp_path: Path) -> None:
    config = OmegaConf.merge(ending(tmp_path), {"trainer": {"strategy": "auto", "devices": 1}})
    sweep.conclude_broken()
    ReportAtSweepEnd().on_multirun_start(config)  # type: ignore[arg-type]
    assert sweep.conclude_broken() is None  # no job started
    ReportAtSweepEnd().on_multirun_start(config)  # type: ignore[arg-type]
    job(tmp_path, "0_a", "finished")
    if not launcher_fails:
        ReportAtSweepEnd().on_multirun_end(config)  # type: ignore[arg-type]
    assert sweep.conclude_broken() == (1 if launcher_fails else None)
    assert sweep.conclude_broken() is None


@pytest.mark.parametrize(("strategy", "devices", "refused"), [("ddp", 2, True), ("ddp", 1, False), ("auto", -1, True)])
def test_distributed_jobs_are_refused_before_any_work(
    strategy: str, devices: int, refused: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(ReportAtSweepEnd, "running", None)
    trainer = {"strategy": strategy, "devices": devices}
    config = OmegaConf.create({"trainer": trainer, "hydra": {"sweep": {"dir": str(tmp_path)}}})
    if not refused:
        ReportAtSweepEnd().on_multirun_start(config)
        return
    with pytest.raises(SystemExit) as end:
        ReportAtSweepEnd().on_multirun_start(config)
    assert end.value.code == 2
    assert "Either trainer.devices=1" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["run", "plan"])
def test_no_job_at_all_is_no_success(what: str, tmp_path: Path) -> None:
    job(tmp_path, "a/0_nested", "finished")
    with pytest.raises(SystemExit) as end:
        ReportAtSweepEnd().on_multirun_end(OmegaConf.merge(ending(tmp_path), {"sweep": what}))  # type: ignore[arg-type]
    assert end.value.code == 1
    assert (tmp_path / "a").is_dir()


def test_a_folder_of_an_earlier_command_counts_once_it_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a job that died before it could note itself."""
    overrides = tmp_path / "0_job" / OVERRIDES
    overrides.parent.mkdir(parents=True)
    overrides.write_text("- seed=0")
    folder = (tmp_path / "0_job").resolve()
    monkeypatch.setitem(EARLIER, folder, overrides.stat().st_mtime_ns)
    assert outcomes(tmp_path) == []
    assert of_earlier_commands([]) == [folder]
    os.utime(overrides, ns=(0, 1))
    (own,) = outcomes(tmp_path)
    assert own.folder.name == "0_job"
    assert of_earlier_commands([own]) == []
