"""The datamodule: random patches to train on, whole images to validate and test on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from invsmooth.core.errors import DataError
from invsmooth.core.shards import ALL, Shard
from invsmooth.data.arrays import ImageArrays
from invsmooth.data.patches import BatchNumbers, PatchBatches
from invsmooth.metrics import SSIM_WINDOW

log = logging.getLogger(__name__)


@dataclass
class NamedImages:
    """A batch of whole images."""

    names: list[str]  # the data set's name of each image; it determines the image's measurement noise
    x: Tensor  # clean images, shape (B, C, H, W), [0, 1]

    def pin_memory(self) -> NamedImages:
        """The same in memory that a GPU reads by itself. (A DataLoader calls it.)"""
        return NamedImages(self.names, self.x.pin_memory())


@dataclass(frozen=True)
class PatchSettings:
    """The patches of training."""

    patch_size: int
    batch_size: int
    n_patches: int  # of an epoch
    augment: bool  # random flips and quarter turns
    seed: int


class WholeImages(Dataset[NamedImages]):
    """Item i is image i, cropped, as a batch of one."""

    def __init__(self, images: ImageArrays, crop: int | None) -> None:
        self.images, self.crop = images, crop

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> NamedImages:
        return NamedImages([self.images.names[i]], self.images.image(i, self.crop)[None])


class ImageDataModule(L.LightningDataModule):
    """Images to train, validate and test on. No picture is in two splits: one that the sets share stays in the test images,
    or else in the validation images.

    Args:
        name: of the test set, for the result rows.
        load: returns the images of a split ("train", "val", "test", "calibration") when they are first needed.
            Without the last nothing calibrates.
        crop, val_crop: side of the central crop of test and validation images; None takes them whole.
        n_settings: number of passes over the test images (one for each ratio and sigma_b).
        num_workers: loader processes; the batches do not depend on it.
        channels: of all images; ``load`` gives as many."""

    def __init__(
        self, *, name: str, load: Mapping[str, Callable[[], ImageArrays]], patches: PatchSettings, crop: int | None,
        val_crop: int | None, n_settings: int, num_workers: int, channels: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.load, self.patches = name, dict(load), patches
        self.crops = {"val": val_crop, "test": crop, "calibration": crop}
        self.n_settings, self.num_workers, self.channels = n_settings, num_workers, channels
        self.images: dict[str, ImageArrays] = {}
        self.shard = ALL  # of the test images

    def setup(self, stage: str) -> None:
        """Load what ``stage`` needs. Raises DataError that names every image that cannot be used."""
        # Training needs all others, too: it leaves them out.
        tested = ("test", "calibration") if "calibration" in self.load else ("test",)
        for split in {"fit": (*tested, "val", "train"), "validate": (*tested, "val"), "test": tested}.get(stage, ()):
            if split in self.images:
                continue
            images = self.load[split]()
            kept = images.without({digest for loaded in self.images.values() for digest in loaded.sha256})
            if shared := [name for name in images.names if name not in kept.names]:
                log.info(
                    "%d images of %s are skipped: other splits have them: %s", len(shared), split, ", ".join(shared)
                )
            if not len(kept):
                raise DataError(
                    f"no image is left for {split}: all {len(images)} are in the other splits, too. Choose another set "
                    "(data.val, data/test); data.val=holdout keeps a fraction of the training images for validation"
                )
            self.images[split] = kept
            if split != "train":
                check_sizes(kept, self.crops[split])

    @property
    def for_gpu(self) -> bool:
        """Whether the batches go to a GPU: they are then pinned, and copied while it computes."""
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    @property
    def n_tested(self) -> int:
        """Number of test images, counted once for each setting."""
        return len(self.images["test"]) * self.n_settings

    def patch_batches(self) -> PatchBatches:
        own = self.patches
        return PatchBatches(self.images["train"], own.patch_size, own.batch_size, own.augment, own.seed)

    def train_dataloader(self) -> DataLoader[Tensor]:
        own, batches = self.patches, self.patch_batches()
        trainer = self.trainer
        assert trainer is not None
        n_batches = math.ceil(own.n_patches / (own.batch_size * trainer.world_size))
        # The module counts its batches; checkpoints keep the count.
        numbers = BatchNumbers(
            n_batches, first=lambda: int(getattr(trainer.lightning_module, "batches_seen", 0)),
            stride=trainer.world_size, offset=trainer.global_rank,
        )  # fmt: skip
        return DataLoader(
            batches, batch_size=None, sampler=numbers, num_workers=self.num_workers, pin_memory=self.for_gpu
        )

    def val_dataloader(self) -> DataLoader[NamedImages]:
        return self.whole_images("val")

    def test_dataloader(self) -> list[DataLoader[NamedImages]]:
        return [self.whole_images("test", self.shard) for _ in range(self.n_settings)]

    def whole_images(self, split: str, shard: Shard = ALL) -> DataLoader[NamedImages]:
        images = WholeImages(self.images[split], self.crops[split])
        part = Subset(images, shard.numbers(len(images)))
        return DataLoader(part, batch_size=None, shuffle=False, pin_memory=self.for_gpu)

    def test_sizes(self) -> set[tuple[int, int]]:
        crop = self.crops["test"]
        return {tuple(s) if crop is None else (crop, crop) for s in self.images["test"].shapes.tolist()}

    def transfer_batch_to_device(
        self, batch: Tensor | NamedImages, device: torch.device, dataloader_idx: int
    ) -> Tensor | NamedImages:
        # Without waiting: what reads the copy is queued behind it.
        if isinstance(batch, NamedImages):
            return NamedImages(batch.names, batch.x.to(device, non_blocking=True))
        return batch.to(device, non_blocking=True)


def check_sizes(images: ImageArrays, crop: int | None) -> None:
    """Raises: DataError: images are too small for the crop; the message names them."""
    sizes = [*zip(images.names, images.shapes.tolist(), strict=True)]
    if small := [f"{name} ({h}×{w})" for name, (h, w) in sizes if min(h, w) < (crop or 0)]:
        some = f"{len(small)} of {len(images)} images are smaller than the {crop}×{crop}"
        raise DataError(f"{some} that data.crop={crop} cuts out; lower it, or data.crop=null: {', '.join(small)}")
    if tiny := sum(min(h, w, crop or h) < SSIM_WINDOW for _, (h, w) in sizes):
        log.warning("%d of %d images have no SSIM: its window is %d pixels wide", tiny, len(images), SSIM_WINDOW)
