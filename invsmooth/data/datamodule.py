"""The datamodule that every data set fills: random patches to train on, whole images to validate and test on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from invsmooth.data.decode import centre_crop, image_files, read_image
from invsmooth.data.patches import BatchNumbers, PatchBatches
from invsmooth.errors import DataError
from invsmooth.metrics import SSIM_WINDOW

ImageSource = Path | Callable[[], Tensor]
"""Where an image comes from: a file, or a function that returns it as a (1, H, W) tensor in [0, 1]."""
Splits = Mapping[str, Mapping[str, ImageSource]]
"""``{"train" | "val" | "test": {image name: source}}``."""


@dataclass
class NamedImages:
    """A batch of whole images.

    Attributes:
        names: the data set's name of each image; with the seed it determines the image's noise.
        x: clean images, shape (B, 1, H, W), [0, 1].
    """

    names: list[str]
    x: Tensor


class ImageDataModule(L.LightningDataModule):
    """Images split by photograph.

    Args:
        name: of the data set, for the result rows.
        splits: the images of each split. Nothing is decoded before it is needed.
        patch_size, batch_size, n_patches: of training; ``n_patches`` make an epoch.
        augment: random flips and quarter turns of the patches.
        crop: side of the central crop of validation and test images; None takes them whole.
        limit: use only the first so many images of each split.
        n_settings: how often the test images are gone through (once for each ratio and sigma_b).
        num_workers: loader processes; the batches do not depend on it.
        seed: of the patches.
    """

    def __init__(
        self, *, name: str, splits: Splits, patch_size: int, batch_size: int, n_patches: int, augment: bool,
        crop: int | None, limit: int | None, n_settings: int, num_workers: int, seed: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.seed = name, seed
        self.splits = {split: dict(list(images.items())[:limit]) for split, images in splits.items()}
        self.patch_size, self.batch_size, self.n_patches, self.augment = patch_size, batch_size, n_patches, augment
        self.crop, self.n_settings, self.num_workers = crop, n_settings, num_workers
        self.images: dict[str, list[NamedImages]] = {}

    def setup(self, stage: str) -> None:
        """Decode what ``stage`` needs. Raises DataError that names every image that cannot be used."""
        for split in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            if split not in self.images:
                self.images[split] = decode_all(self.splits[split])
                if split != "train":
                    check_sizes(self.images[split], self.crop)

    def train_dataloader(self) -> DataLoader[Tensor]:
        images = self.images["train"]
        batches = PatchBatches(
            [i.x[0] for i in images], [i.names[0] for i in images], self.patch_size, self.batch_size, self.augment,
            self.seed,
        )  # fmt: skip
        trainer = self.trainer
        assert trainer is not None
        # The module counts the batches it has seen and keeps the count in its checkpoints.
        numbers = BatchNumbers(
            math.ceil(self.n_patches / (self.batch_size * trainer.world_size)),
            first=lambda: int(getattr(trainer.lightning_module, "batches_seen", 0)),
            stride=trainer.world_size,
            offset=trainer.global_rank,
        )
        return DataLoader(batches, batch_size=None, sampler=numbers, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[NamedImages]:
        return self.whole_images("val")

    def test_dataloader(self) -> list[DataLoader[NamedImages]]:
        return [self.whole_images("test") for _ in range(self.n_settings)]

    def whole_images(self, split: str) -> DataLoader[NamedImages]:
        cropped = [NamedImages(i.names, centre_crop(i.x, self.crop)) for i in self.images[split]]
        return DataLoader(cropped, batch_size=None, shuffle=False)  # type: ignore[arg-type]

    def transfer_batch_to_device(
        self, batch: Tensor | NamedImages, device: torch.device, dataloader_idx: int
    ) -> Tensor | NamedImages:
        if isinstance(batch, NamedImages):
            return NamedImages(batch.names, batch.x.to(device))
        return batch.to(device)


def decode_all(sources: Mapping[str, ImageSource]) -> list[NamedImages]:
    """Every image of a split, each as a batch of one. Raises DataError that names all that cannot be read."""
    images, errors = [], []
    for name, source in sources.items():
        try:
            image = read_image(source) if isinstance(source, Path) else source()
            images.append(NamedImages([name], image[None]))
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError(f"{len(errors)} of {len(sources)} images cannot be used:\n  " + "\n  ".join(errors))
    return images


def check_sizes(images: list[NamedImages], crop: int | None) -> None:
    """Whether every image is large enough for SSIM. Raises DataError that names those that are not."""
    small = [i.names[0] for i in images if min(*i.x.shape[-2:], crop or SSIM_WINDOW) < SSIM_WINDOW]
    if small:
        raise DataError(
            f"smaller than the {SSIM_WINDOW}×{SSIM_WINDOW} pixels that SSIM needs (data.crop={crop}): {', '.join(small)}"
        )


def folder_splits(root: str | Path, holdout: float) -> Splits:
    """Splits of a folder of images (searched recursively).

    Sub-folders ``train``, ``val`` and ``test`` are taken as such. Otherwise the share ``holdout`` of the images, evenly
    spread over their sorted paths, is kept from training; validation is every other of these and test the rest.
    ``holdout=1`` makes every image a test image: evaluation of a trained network.

    Raises:
        DataError: no such folder, no image, or too few images for the split.
    """
    root = Path(root)
    if all((root / split).is_dir() for split in ("train", "val", "test")):
        return {split: by_name(root / split, image_files(root / split)) for split in ("train", "val", "test")}
    files = image_files(root)
    if holdout == 1:
        return {"train": {}, "val": {}, "test": by_name(root, files)}
    n_held = max(2, round(holdout * len(files)))
    if len(files) < n_held + 1:
        raise DataError(
            f"{root.absolute()} has {len(files)} images; at least 3 are needed to train, validate and test on different "
            "ones. Give more, or sub-folders train, val and test"
        )
    held = {files[(2 * i + 1) * len(files) // (2 * n_held)] for i in range(n_held)}
    kept = [f for f in files if f in held]
    return {
        "train": by_name(root, [f for f in files if f not in held]),
        "val": by_name(root, kept[1::2]),
        "test": by_name(root, kept[0::2]),
    }


def by_name(root: Path, files: list[Path]) -> dict[str, ImageSource]:
    """Files by their path below ``root``: names that are unique and the same on every machine."""
    return {f.relative_to(root).as_posix(): f for f in files}
