"""The certificate files of an evaluation: one for each image and measurement setting."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from invsmooth.core.units import PAPER_LABEL, Units, grey_or_none, to_grey_levels
from invsmooth.evaluation.certified import Certified
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured
from invsmooth.records.certificate_files.format import FOLDER, FORMAT, VERSION, Record, dumped
from invsmooth.records.certificate_files.record import array_record, certificate_record, to_numpy
from invsmooth.records.pictures import setting_name


class CertificateFiles:
    """The certificate files of a run. They name what is needed to make the estimator and the
    operator again.

    Args:
        operator: description of the operator without its ratio, as the config gives it.
        checkpoint: the file with the estimator's weights; None if it has none.
        description: class (``_target_``) and parameters of an estimator without weights."""

    def __init__(
        self, folder: Path, operator: Mapping[str, Any], checkpoint: Path | None, description: Mapping[str, Any] | None
    ) -> None:
        self.operator = dict(operator)
        path = None if checkpoint is None else checkpoint.resolve()
        if path is not None and path.is_relative_to(folder.resolve()):  # it stays beside the files if the run is moved
            path = Path(os.path.relpath(path, (folder / FOLDER).resolve()))
        self.estimator = {"checkpoint": path and str(path), "description": None if path else description}

    def contents(
        self, measured: Measured, evaluation: Evaluation, certificates: Sequence[Certified], estimator_sha256: str
    ) -> dict[str, bytes]:
        """The files of every image of a batch, by their names in the run's folder."""
        names, arrays = measurement_names(measured, certificates)
        named = list(zip(certificates, names, strict=True))
        setting, found = measured.setting, dict[str, bytes]()
        operator = {"sha256": setting.operator.sha256(), "ratio": setting.ratio} | self.operator
        precision = {} if evaluation.precision == "fp32" else {"precision": evaluation.precision}
        for i, key in enumerate(measured.names):
            own = {name: to_numpy(y[i]) for name, y in arrays.items()}
            x, stem = to_numpy(measured.x[i]), setting_name(key, setting.ratio, to_grey_levels(setting.sigma_b))
            record: Record = {
                "format": FORMAT, "version": VERSION, "units": evaluation.units.value,
                "label": PAPER_LABEL if evaluation.units is Units.paper else "",
                "image": {"key": key, **array_record(x)},
                "estimator": {"sha256": estimator_sha256, **self.estimator, **precision},
                "operator": operator, "sigma_b": to_grey_levels(setting.sigma_b),
                "measurements": {"file": f"{stem}.npz", "arrays": {k: array_record(a) for k, a in own.items()}},
                "certificates": [record_of(evaluation, c, name, i) for c, name in named],
            }  # fmt: skip
            if any(c.certifier.records_image for c in certificates):
                own["x"] = x
            found |= {f"{FOLDER}/{stem}.npz": to_npz(own), f"{FOLDER}/{stem}.json": dumped(record)}
        return found

    def adopt(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The files of another run of the same experiment, with this run's paths."""
        adopted = dict(files)
        for name in (n for n in files if n.startswith(f"{FOLDER}/") and n.endswith(".json")):
            record = json.loads(files[name])
            own = {"estimator": record["estimator"] | self.estimator, "operator": record["operator"] | self.operator}
            adopted[name] = dumped(record | own)
        return adopted


def measurement_names(measured: Measured, certificates: Sequence[Certified]) -> tuple[list[str], dict[str, Tensor]]:
    """The name of each certificate's measurements (``clean``, ``attacked_1``, …); these by name."""
    arrays, names = {"clean": measured.y}, []
    for y in (c.y for c in certificates):
        known = next((name for name, other in arrays.items() if other is y or bool((other == y).all())), None)
        names.append(known or f"attacked_{len(arrays)}")
        arrays[names[-1]] = y
    return names, arrays


def record_of(evaluation: Evaluation, certified: Certified, measurement: str, i: int) -> Record:
    certifier, each = certified.certifier, evaluation.each(certified.certifier, certified.sigma)
    over = {"eps": (certifier.over_eps(evaluation.over_eps), len(evaluation.eps)),
            "sigma": (evaluation.over_sigma, len(evaluation.sigma)),
            "images": (evaluation.over_images, evaluation.n_images)}  # fmt: skip
    # What takes no draws of its own has no number of draws, no seed, and nothing to share.
    own = certifier.smooths
    settings = {
        "measurement": measurement, "sigma": grey_or_none(certified.sigma),
        "n_samples": evaluation.n_samples if own else 0, "seed": evaluation.seed if own else 0,
        "confidence": evaluation.confidence_of(certifier), "confidence_each": each.confidence,
        "shared_over": {name: n for name, (how, n) in over.items() if how == "bonferroni" and own},
        "simultaneous": each.simultaneous, "quantile": evaluation.quantile,
    }  # fmt: skip
    found, units = certified.certificate, evaluation.units
    return certificate_record(certifier, found, i, eps=certified.eps, settings=settings, units=units)


def to_npz(arrays: Mapping[str, np.ndarray], save: Callable[..., None] = np.savez) -> bytes:
    buffer = io.BytesIO()
    save(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
