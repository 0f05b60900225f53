"""The Lightning callback that evaluates each test image and writes what is found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

from invsmooth.core.errors import CertificateViolation
from invsmooth.core.shards import ALL, Shard
from invsmooth.core.units import PAPER_LABEL, Units, grey_or_none, to_grey_levels
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation.calibration import Floors
from invsmooth.evaluation.certificate_files import CertificateFiles, to_npz
from invsmooth.evaluation.image import ImageResult, evaluate_image
from invsmooth.evaluation.module import EvaluationModule
from invsmooth.evaluation.result_cache import ImageOutput, ResultCache, write_files
from invsmooth.evaluation.watch import EvaluationWatch
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.records.pictures import picture_file
from invsmooth.records.rows import GrowingRows

log = logging.getLogger(__name__)


class EvaluationCallback(L.Callback):
    """Evaluates the module under test (of an :class:`EvaluationModule`, its estimator) on each test
    image. The rows so far are in ``folder/results.parquet``, but for the last tenth until the end
    or an error; the pictures and certificate files of each image beside it. ``settings``: one for each test loader. Several
    processes write a file each, with the rows of their ``shard``."""

    def __init__(
        self, folder: Path, cache: ResultCache, settings: Sequence[Setting], files: CertificateFiles | None = None,
        shard: Shard = ALL,
    ) -> None:  # fmt: skip
        self.folder, self.cache, self.settings, self.files, self.shard = folder, cache, settings, files, shard
        self.floors: Floors | None = None
        self.watch = EvaluationWatch()
        self.rows = GrowingRows(folder / shard.file("results.parquet"), cache.declared)
        self.sha256 = ""

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.rows, self.sha256 = GrowingRows(self.rows.path, self.cache.declared), state_sha256(estimator_of(pl_module))
        for setting in self.settings:
            setting.operator.to(pl_module.device)
        if self.cache.evaluation.units is Units.paper:
            log.warning("certificate.units=paper: every certified value below is %s", PAPER_LABEL)
        self.watch.start(estimator_of(pl_module), int(sum(trainer.num_test_batches)), trainer.is_global_zero)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.watch.stop()
        self.rows.write()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.watch.stop()
        with suppress(OSError):  # a full disk: that error is already on its way
            self.rows.write()

    def how_to_go_on(self) -> str:
        """For a user whose evaluation was interrupted."""
        done = f"{self.watch.finished} of {self.watch.images} images are done"
        kept = self.cache.results.store.folder is not None
        return f"the same command goes on ({done})" if kept else f"{done}; nothing is cached (cache=null)"

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Raises CertificateViolation, once the rows and the evidence are written."""
        measured = measure(self.settings[dataloader_idx], batch.names, batch.x)
        number = self.shard.number(batch_idx)
        with self.cache.image(measured, number, self.folder) as found:
            if found is not None:
                files = self.files.adopt(found.files) if self.files else found.files
                self.write(measured, ImageOutput(found.rows, files))
                self.watch.image_done(cached=True)
                return
            self.watch.image(measured, number)
            evaluation, remember = self.cache.evaluation, self.cache.of(measured)
            result = evaluate_image(
                estimator_of(pl_module), measured, evaluation, remember, number=number, watch=self.watch
            )
            output = self.output(measured, result)
            self.write(measured, output)
            if result.violations:
                self.rows.write()
                told = [f"{v.message}; evidence: {v.save(self.folder, k)}" for k, v in enumerate(result.violations)]
                raise CertificateViolation("\n".join(["certificate refuted by an attack:", *told]))
            self.cache.put(measured, number, output)
            self.watch.image_done(cached=False)

    def output(self, measured: Measured, result: ImageResult) -> ImageOutput:
        """The rows with the run's columns, and the contents of the files."""
        rows = [row | self.cache.columns | {"estimator_sha256": self.sha256} for row in result.rows]
        setting, files = measured.setting, {}
        for (eps, sigma), arrays in result.pictures.items():
            at = setting.ratio, to_grey_levels(setting.sigma_b), eps, grey_or_none(sigma)
            files[picture_file(Path(), measured.names[0], *at).as_posix()] = to_npz(arrays, np.savez_compressed)
        if self.files:
            files |= self.files.contents(measured, self.cache.evaluation, result.certificates, self.sha256)
        return ImageOutput(rows, files)

    def write(self, measured: Measured, output: ImageOutput) -> None:
        """With the floors, which are not cached: another calibration gives others."""
        size = measured.x.shape[-2:]
        write_files(self.folder, output.files)
        self.rows.add([row | self.floors.of(row, *size) for row in output.rows] if self.floors else output.rows)


def estimator_of(module: L.LightningModule) -> Any:
    return module.estimator if isinstance(module, EvaluationModule) else module
