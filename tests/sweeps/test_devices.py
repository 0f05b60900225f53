"""One GPU for each job, and what a multirun refuses."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from invsmooth.core import devices
from invsmooth.core.devices import devices_of_job, gpu_count, gpu_of_job, starts_processes


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be job number ``job`` of a sweep on a machine with ``gpus``."""

    def pretend(job: int, gpus: int) -> None:
        config = OmegaConf.create({"job": {"num": job}})
        monkeypatch.setattr(devices, "in_sweep", lambda: True)
        monkeypatch.setattr(devices.HydraConfig, "get", staticmethod(lambda: config))
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)

    return pretend


def trainer(accelerator: str = "gpu", count: Any = 1) -> tuple[str, Any]:
    return accelerator, count


def test_jobs_go_round_the_gpus(sweeping: Any) -> None:
    assert [gpu_of_job(job, 3) for job in range(5)] == [[0], [1], [2], [0], [1]]
    for accelerator in ("gpu", "auto"):
        sweeping(job=6, gpus=4)
        assert devices_of_job(*trainer(accelerator)) == [2]
        assert devices_of_job(*trainer(accelerator), one=True) == [2]


def test_otherwise_the_config_says_it(sweeping: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeping(job=6, gpus=1)  # as in a job of a cluster, which sees just its own
    assert devices_of_job(*trainer()) == 1
    sweeping(job=6, gpus=4)
    assert devices_of_job(*trainer("cpu")) == 1
    assert devices_of_job(*trainer(count=[3])) == [3]
    assert devices_of_job(*trainer(count=2), one=True) == 1
    monkeypatch.undo()
    assert devices_of_job(*trainer()) == 1


def test_counting_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert (gpu_count(), gpu_count(1)) == (4, 1)


@pytest.mark.parametrize(
    ("strategy", "count", "expected"),
    [
        ("ddp", 2, True), ("ddp", -1, True), ("auto", "auto", True), ("ddp_find_unused_parameters_true", 4, True),
        ("ddp", 1, False), ("auto", 1, False), ("ddp_spawn", 2, False),
    ],
)  # fmt: skip
def test_which_trainers_run_the_command_again(strategy: str, count: Any, expected: bool) -> None:
    assert starts_processes(strategy, count) is expected
