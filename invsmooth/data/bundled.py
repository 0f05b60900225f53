"""The natural photographs inside the scikit-image wheel: data without a download."""

from __future__ import annotations

from pathlib import Path

from invsmooth.data.files import ImageFile

# Split by photograph, so that no scene is both trained and tested on.
PHOTOGRAPHS = {
    "train": ("coffee.png", "rocket.jpg", "motorcycle_left.png", "brick.png", "grass.png", "gravel.png"),
    "val": ("coins.png",),
    "test": ("chelsea.png", "astronaut.png", "camera.png"),
}


def bundled_files(split: str) -> dict[str, ImageFile]:
    """The photographs of a split, as files of the installed scikit-image."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {Path(name).stem: ImageFile(folder / name) for name in PHOTOGRAPHS[split]}
