"""Certificate files made by hand, with a network that is never trained; and ways to tamper with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.attacks.noise import Noise
from invsmooth.cache import not_kept
from invsmooth.certificates.by_name import as_certifier
from invsmooth.core.units import Units, to_unit_scale
from invsmooth.estimators import ISTANetPP
from invsmooth.estimators.bf16 import as_run
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation.certificate_files import CertificateFiles
from invsmooth.evaluation.certified import Certified, certify_at
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.records.certificate_files.format import checksum

NAMES = ["a/b ç", "a_b ç"]  # both are a_b_ç as a file name
EPS, SIGMA = [0.0, 0.03, 5.0], 25.0
KINDS: dict[str, dict[str, Any]] = {
    "discrepancy": {"over_eps": "bonferroni"},
    "error": {"over_eps": "dkw"},
    "radius": {"threshold": 0.35, "over_images": "bonferroni"},
    "anytime": {"threshold": 0.095, "anytime": True},
    "mean": {"n_centre": 10},
    "center": {"n_pred": 800},
}
WEIGHTS = {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 1, "channels": 2}


class NearlyConstant(nn.Module):
    """0.7 + ``gain`` · y, plus terms of order one that cancel but for the rounding of single precision, which depends on
    how many y there are."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        mixing = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)) / 16
        self.register_buffer("mixing", mixing, persistent=False)

    def forward(self, y: Tensor, operator: Identity) -> Tensor:
        flat = y.flatten(1)
        rounding = flat @ self.mixing - (flat.double() @ self.mixing.double()).float()
        return 0.7 + self.gain * y + rounding.view_as(y)


def evaluation_of(certifiers: list[str], eps: list[float], **options: Any) -> Evaluation:
    """Of certifiers by name. options: of the evaluation (``sigma`` in grey levels), and parameters of certifiers."""
    names = ("threshold", "radius_of", "anytime", "n_centre", "n_pred")
    given = {name: options.pop(name) for name in names if name in options}
    sigma = to_unit_scale(options.pop("sigma", SIGMA))
    chosen = [as_certifier(name, given) for name in certifiers]
    return Evaluation(eps=eps, sigma=[sigma], attack=Noise(n_iter=1), certifiers=chosen, **options)


def certified_at(
    at: str, estimator: nn.Module, measured: Measured, evaluation: Evaluation, y: Tensor, eps: list[float]
) -> list[Certified]:
    (sigma,) = evaluation.sigma
    with torch.no_grad():
        return certify_at(at, estimator, measured, evaluation, not_kept, y=y, eps=eps, sigma=sigma)


def write(
    folder: Path, estimator: nn.Module, measured: Measured, evaluation: Evaluation, certificates: list[Certified], *,
    operator: dict[str, Any], checkpoint: Path | None = None, description: dict[str, Any] | None = None,
) -> list[Path]:  # fmt: skip
    """The certificate files of the images, in a run folder."""
    files = CertificateFiles(folder, operator, checkpoint, description)
    contents = files.contents(measured, evaluation, certificates, state_sha256(estimator))
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted((folder / "certificates").glob("*.json"))


def make_nearly_constant(folder: Path, gain: float, *certifiers: str) -> Path:
    """The certificate file of one image of 16 x 16 pixels, denoised by :class:`NearlyConstant`."""
    estimator, setting = NearlyConstant(gain), Setting(Identity(), 1.0, 0.0)
    measured = measure(setting, ["a"], torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    eps = [0.0, 0.03]
    evaluation = evaluation_of(list(certifiers), eps, n_samples=40, confidence=0.7, n_centre=10, n_pred=800)
    found = [
        c for at in ("attacked", "clean") for c in certified_at(at, estimator, measured, evaluation, measured.y, eps)
    ]
    description = {"_target_": f"{NearlyConstant.__module__}.NearlyConstant", "gain": gain}
    operator = {"name": "identity", "block": 33, "seed": 0, "matrix": None}
    (path,) = write(folder, estimator, measured, evaluation, found, operator=operator, description=description)
    return path


def network(seed: int = 0) -> ISTANetPP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ISTANetPP(1, 2).eval()


def save_weights(path: Path, seed: int = 0) -> Path:
    state = {f"estimator.{k}": v for k, v in network(seed).state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "hyper_parameters": {"estimator": WEIGHTS}}, path)
    return path


def make(
    folder: Path,
    *kinds: str,
    units: Units = Units.matched,
    eps: list[float] = EPS,
    sigma: float = SIGMA,
    **changes: Any,
) -> list[Path]:
    """The certificate files of two images of 11 x 10 pixels in a run folder with its checkpoint."""
    setting = Setting(BlockGaussian(0.5, block=6, seed=3), 0.5, to_unit_scale(5.0))
    estimator = network()
    measured = measure(setting, NAMES, torch.rand(2, 1, 11, 10, generator=torch.Generator().manual_seed(0)))
    options: dict[str, Any] = {"n_samples": 30, "confidence": 0.7, "quantile": 0.5, "seed": 3, "n_images": 2}
    for kind in kinds:
        options |= KINDS[kind]
    names = ["radius" if k == "anytime" else k for k in kinds]
    evaluation = evaluation_of(names, eps, sigma=sigma, units=units, **(options | changes))
    running = as_run(estimator, evaluation.precision)
    found = certified_at("clean", running, measured, evaluation, measured.y, eps)
    for e in eps if "discrepancy" in names else ():
        y = measured.y + e * measured.y / measured.y.norm()
        found += certified_at("attacked", running, measured, evaluation, y, [e])
    checkpoint = save_weights(folder / "checkpoints" / "best.ckpt")
    operator = {"name": "block_gaussian", "block": 6, "seed": 3, "matrix": None}
    return write(folder, estimator, measured, evaluation, found, operator=operator, checkpoint=checkpoint)


Path_ = tuple[str | int, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The place of every value in a record that is no object or list."""
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(entry, (*path, key))
    else:
        yield path


def get(record: Any, path: Path_) -> Any:
    for key in path:
        record = record[key]
    return record


def change(value: Any) -> Any:
    """Another value of the same kind, as near as somebody who cheats would take it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.001 + 1e-4 * (value == 0)
    if value is None:
        return 1
    return {"nan": 0.1, "inf": 0.1}.get(value, value + "x")


def changed(record: dict[str, Any], path: Path_) -> dict[str, Any]:
    """The record with one leaf changed; draws keep their order."""
    found = copy.deepcopy(record)
    value, holder = get(record, path), get(found, path[:-1])
    if "draws" in path:
        draws, k = get(record, path[:-1]), int(path[-1])
        holder[k] = (value + draws[k + 1]) / 2 if k + 1 < len(draws) else value * 1.001
    else:
        holder[path[-1]] = change(value)
    return found


def save(path: Path, record: dict[str, Any], seal: bool = False) -> None:
    path.write_text(json.dumps(record | ({"sha256": checksum(record)} if seal else {})), encoding="utf-8")


def pattern(path: Path_) -> str:
    """The place without positions: certificates[].radii[].bound."""
    return "".join("[]" if isinstance(k, int) else f".{k}" for k in path).lstrip(".")
