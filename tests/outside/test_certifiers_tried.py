"""A certifier of the user's that is none is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.errors import ConfigError
from invsmooth.core.units import Units
from invsmooth.operators import Identity
from invsmooth.pipeline import own_code
from tests.sweeps.sweeping import run


class Half(Percentile):
    """The median's MSE to the clean image, with a mistake."""

    name = "half"
    reference = "x"
    declared = CertifierDeclaration(
        name="half", statement="the median draw: MSE to the clean image", colour="#999933", marker="P", ranked=True,
        column="half", axis="half", short="{:.2f}",
        columns=(Column("half", "MSE", "Certified MSE of the median.", certified=True, heading="half"),),
    )  # fmt: skip

    def __init__(self, mistake: str = "none") -> None:
        self.mistake = mistake

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float], each: Smoothing) -> Any:
        found = super().certify(draws, shown, x, eps, each)
        if self.mistake == "raises":
            raise KeyError("a bug")
        answers = {"tensor": found.bound, "shape": replace(found, bound=found.bound[:, 0])}
        return answers.get(self.mistake, found)

    def row(self, certificate: Any, i: int, units: Units) -> Any:
        rows = {"row": 3.0, "column": {"half": 0.1, "other": 1}}
        return rows.get(self.mistake, {"half": float(certificate.bound[i])})


class Undeclared(Half):
    declared = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("raises", r"certify: Half fails on an image of shape \(1, 1, 8, 8\), .*: KeyError: 'a bug' \(.*, line "),
        ("tensor", "certify returned a Tensor; a Certificate is needed"),
        ("shape", r"the bound of 1 image at 1 radius has shape \(1,\)"),
        ("row", "row gives 3.0"),
        ("column", "row gives columns that it does not declare: other"),
    ],
)
def test_before_any_work(mistake: str, message: str) -> None:
    evaluation = SimpleNamespace(
        certifiers=[Half(mistake)], sigma=[0.1], eps=[0.0, 0.05], radii=list, units=Units.matched,
        smoothing=lambda sigma: Smoothing(sigma=sigma, n_samples=60),
    )  # fmt: skip
    data = SimpleNamespace(channels=1, images={"train": None}, patches=SimpleNamespace(patch_size=8))
    with pytest.raises(ConfigError, match=message):
        own_code.try_certifiers(evaluation, Identity(), data)  # type: ignore[arg-type]
    evaluation.certifiers = [Half()]
    own_code.try_certifiers(evaluation, Identity(), data)  # type: ignore[arg-type]


def test_a_refused_run_leaves_nothing_and_a_sound_one_is_certified(tmp_path: Path) -> None:
    own = ["certify=custom", "certify._target_=tests.outside.test_certifiers_tried.Half", "certify.files=false"]
    undeclared = "certify._target_=tests.outside.test_certifiers_tried.Undeclared"
    for change, said in (
        ("+certify.mistake=tensor", "Half: certify returned a Tensor"),
        (undeclared, "Undeclared has no declared"),
    ):
        done = run(tmp_path, *own, change, "+estimator.fate=lives", code=2)
        assert f"error: certify: {said}" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list(tmp_path.iterdir())
    run(tmp_path, *own, "+estimator.fate=lives", "hydra.run.dir=run", "report=false", code=0)
