"""What every training algorithm keeps to. One of anybody's joins by one line:
``class TestMine(AlgorithmConformance): algorithm, parameters = Mine, {"n_iter": 2}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.estimators import ISTANetPP
from invsmooth.training import ReconstructionModule
from tests.training.toys import Gain, data, module, trainer


def weights(trained: ReconstructionModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trained.estimator.parameters()])


class AlgorithmConformance:
    algorithm: ClassVar[type[ReconstructionModule]]
    parameters: ClassVar[Mapping[str, Any]] = {}
    """Small ones."""
    network: ClassVar[Callable[[], nn.Module]] = staticmethod(lambda: ISTANetPP(2, 4))  # that it can train

    def module(self, **options: Any) -> Any:
        torch.manual_seed(0)
        return module(self.algorithm, **{"estimator": self.network()} | options, **self.parameters)

    def fit(self, folder: Path, max_batches: int, resume: Path | None = None, **options: Any) -> tuple[Any, Any]:
        trained, runner = self.module(**options), trainer(folder, max_batches)
        runner.fit(trained, datamodule=data(), ckpt_path=resume)
        return runner, trained

    def test_a_step_changes_the_weights_and_counts_what_it_says(self, tmp_path: Path) -> None:
        runner, trained = self.fit(tmp_path, 2)
        metrics = runner.callback_metrics
        assert not torch.equal(weights(trained), weights(self.module()))
        assert bool(metrics["train/loss"].isfinite())
        assert bool(weights(trained).isfinite().all())
        assert float(metrics["train/network_evals"]) == trained.evals_per_batch
        assert runner.global_step == 2 * trained.updates_per_batch

    @pytest.mark.parametrize("stop", [3, 5])
    def test_resume_equals_an_uninterrupted_run(self, tmp_path: Path, stop: int) -> None:
        """Bit by bit, within an epoch (of 5 batches) and at its end: weights, optimiser, schedule, data and noise go on."""
        _, whole = self.fit(tmp_path, 8)
        runner, first = self.fit(tmp_path, stop)
        assert first.batches_seen == stop
        runner.save_checkpoint(tmp_path / "half.ckpt")
        _, resumed = self.fit(tmp_path, 8, resume=tmp_path / "half.ckpt")
        assert resumed.batches_seen == 8
        assert torch.equal(weights(resumed), weights(whole))
        assert not torch.equal(weights(first), weights(whole))

    def test_modes_and_flags_are_restored(self, tmp_path: Path) -> None:
        _, trained = self.fit(tmp_path, 3, estimator=Gain())
        assert trained.training
        assert trained.estimator.training
        assert trained.estimator.gain.requires_grad

    def test_declares_itself_and_keeps_its_parameters(self) -> None:
        assert isinstance(self.algorithm.declared, AlgorithmDeclaration)
        trained = self.module()
        names = [name for name in inspect.signature(self.algorithm).parameters if name != "setup"]
        assert all(hasattr(trained, name) for name in names)
        assert {*self.algorithm.grey_levels} <= {*names}
        for name in names:
            assert getattr(trained, name) == self.parameters.get(name, getattr(trained, name))
