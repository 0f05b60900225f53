"""Write the certificate files of an evaluation: one for each image and measurement setting."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from invsmooth.certificates import Certificate
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.operators.measurement import Measured
from invsmooth.records.certificate_files.checks import needs_image
from invsmooth.records.certificate_files.format import (
    FOLDER,
    FORMAT,
    VERSION,
    Record,
    dumped,
    write_arrays,
    write_record,
)
from invsmooth.records.certificate_files.record import array_record, certificate_record, operator_sha256, to_numpy
from invsmooth.records.pictures import setting_name


class CertificateFiles:
    """Collects the certificates of a batch (:meth:`add`) and writes them (:meth:`write`).

    Args:
        plan: what is certified.
        folder: of the run; the files go to ``folder/certificates``.
        operator: what rebuilds the operator, but for its ratio: name, block, seed, matrix.
        checkpoint: the file with the estimator's weights; None if it has none.
        description: class (``_target_``) and parameters of an estimator without weights.
    """

    def __init__(
        self, plan: CertifyPlan, folder: Path, operator: Mapping[str, Any], checkpoint: Path | None,
        description: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        self.plan, self.folder, self.operator = plan, folder / FOLDER, dict(operator)
        path = None if checkpoint is None else checkpoint.resolve()
        if path is not None and path.is_relative_to(folder.resolve()):  # it stays beside the files if the run is moved
            path = Path(os.path.relpath(path, self.folder.resolve()))
        self.estimator = {"checkpoint": path and str(path), "description": None if path else description}
        self.measured: list[tuple[str, Tensor]] = []
        self.certificates: list[tuple[dict[str, Any], Sequence[float], Certificate]] = []

    def add(
        self,
        certifier: str,
        certificate: Certificate,
        measured: Measured,
        y: Tensor,
        sigma: float,
        eps: Sequence[float],
    ) -> None:
        """A certificate, with the radius axis ``eps``, of measurements y (clean or attacked) of the batch ``measured``."""
        if not self.measured:
            self.measured.append(("clean", measured.y))
        known = next((name for name, other in self.measured if other is y or bool((other == y).all())), None)
        name = known or f"attacked_{len(self.measured)}"
        if known is None:
            self.measured.append((name, y))
        self.certificates.append((self.plan.recorded(certifier, sigma) | {"measurement": name}, eps, certificate))

    def write(self, measured: Measured, estimator_sha256: str) -> list[Path]:
        """The files of every image of the batch, of all certificates added since the last time. Returns where they are."""
        self.folder.mkdir(exist_ok=True)
        written = []
        operator = {
            "sha256": operator_sha256(measured.setting.operator),
            "ratio": measured.setting.ratio,
        } | self.operator
        for i, key in enumerate(measured.names):
            arrays = {name: to_numpy(y[i]) for name, y in self.measured}
            x, stem = to_numpy(measured.x[i]), setting_name(key, measured.setting.ratio, measured.setting.sigma_b)
            record: Record = {
                "format": FORMAT, "version": VERSION, "units": self.plan.units.value,
                "label": PAPER_LABEL if self.plan.units is Units.paper else "",
                "image": {"key": key, **array_record(x)},
                "estimator": {"sha256": estimator_sha256, **self.estimator},
                "operator": operator, "sigma_b": measured.setting.sigma_b,
                "measurements": {"file": f"{stem}.npz", "arrays": {k: array_record(a) for k, a in arrays.items()}},
                "certificates": [certificate_record(settings, eps, found, i, self.plan.units)
                                 for settings, eps, found in self.certificates],
            }  # fmt: skip
            if any(needs_image(c) for c in record["certificates"]):
                arrays["x"] = x
            write_arrays(self.folder / f"{stem}.npz", arrays)
            write_record(self.folder / f"{stem}.json", record)
            written += [self.folder / f"{stem}.npz", self.folder / f"{stem}.json"]
        self.measured, self.certificates = [], []
        return written

    def adopt(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The files of another run of the same experiment, with this run's ways to the weights and the operator's matrix."""
        adopted = dict(files)
        for name in [n for n in files if n.startswith(f"{FOLDER}/") and n.endswith(".json")]:
            record = json.loads(files[name])
            record["estimator"] |= self.estimator
            record["operator"]["matrix"] = self.operator["matrix"]
            adopted[name] = dumped(record)
        return adopted
