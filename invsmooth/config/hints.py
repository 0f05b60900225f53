"""Type hints of config keys: what a value may be, checked by pydantic."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from invsmooth.core.arguments import ADDRESS, is_address
from invsmooth.core.parameters import LARGEST_RATIO, NotNegative
from invsmooth.records.origin import A_NAME, is_name

MOST_WORKERS = max(64, 2 * (os.cpu_count() or 1))
"""Processes that read images: each takes some 300 MB."""
MOST_THREADS = max(64, os.cpu_count() or 1)
"""With many more threads than CPUs torch takes minutes for a batch; with 99999 it dies."""
MOST_DEVICES = 64
"""Of one machine."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
"""Of a training. With any other the weights, or what they get, are no float32, and tests and certificates are."""
STRATEGIES = ("auto", "single_device", "ddp", "ddp_spawn", "ddp_fork", "ddp_find_unused_parameters_true")


def distinct(value: Any) -> Any:
    """Refuse a value that is given twice: it would be computed twice."""
    values = value if isinstance(value, list) else [value]
    if not values or len(set(values)) != len(values):
        raise AssertionError
    return value


def named(value: str) -> str:
    assert is_name(value)
    return value


def existing(value: Any) -> Any:
    if value is not None and not (isinstance(value, str) and Path(value).is_file()):
        raise ValueError("there is no such file; give the path of a checkpoint")
    return value


def images_at(value: str) -> str:
    from invsmooth.data.files import is_zip

    if not (Path(value).is_dir() or is_zip(Path(value))):
        what = (
            "this is a file; give the folder that it is in"
            if Path(value).is_file()
            else "there is no such folder or zip archive; give one with images"
        )
        raise ValueError(f"{what}, or use data=bundled")
    return value


def grey_or_colour(value: int) -> int:
    assert value in (1, 3)
    return value


def modules(value: list[str]) -> list[str]:
    assert all(part.isidentifier() for name in value for part in name.split("."))
    return value


def devices(value: Any) -> Any:
    """A number, in digits or as a number, or a list of the numbers of GPUs; checked against the machine elsewhere."""
    if isinstance(value, list):
        assert all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < MOST_DEVICES for v in value)
        assert value
        assert len(set(value)) == len(value)
    elif value != "auto":
        assert type(value) in (int, str)
        assert len(str(value)) < 5
        assert int(value) == -1 or 1 <= int(value) <= MOST_DEVICES
    return value


def paths(value: Any) -> Any:
    """A text, or a list of texts, none empty and all such that the system takes them as names."""
    values = value if isinstance(value, list) else [value]
    assert values
    assert all(isinstance(v, str) and v and "\0" not in v for v in values)
    return value


def address(value: str) -> str:
    assert not value or is_address(value)
    return value


def one_of(*names: str) -> Any:
    """In place of ``Literal``, which OmegaConf does not know."""
    return Field(pattern=rf"^({'|'.join(names)})$", description=", ".join(names))


LARGEST_RADIUS = 1e6
"""l2 norm: that of an image of 10^12 white pixels."""
LARGEST_GREY = 1e6
"""Standard deviation in grey levels: 4000 times the range of an image."""
RADII = "numbers >= 0 (l2 norm over one whole image, pixels in [0, 1]), <= 1e6, no two equal"
GREY = "numbers >= 0 (standard deviation in 8-bit grey levels), <= 1e6, no two equal"
RATIOS = f"numbers in (0, {LARGEST_RATIO:g}], no two equal; write 0.5 for 50 %"
WandbProject = Annotated[
    str, Field(pattern=r"^[^/\\#?%:]{1,128}$", description="a name of 1 to 128 characters without / \\ # ? % :")
]
"""What W&B takes."""
Name = Annotated[str, AfterValidator(named), Field(description=A_NAME)]
Radius = Annotated[NotNegative, Field(le=LARGEST_RADIUS)]
Radii = Annotated[Radius | list[Radius], AfterValidator(distinct), Field(description=RADII)]
GreyLevel = Annotated[
    float, Field(ge=0, le=LARGEST_GREY, allow_inf_nan=False, description="a number >= 0 (grey levels), <= 1e6")
]
GreyLevels = Annotated[GreyLevel | list[GreyLevel], AfterValidator(distinct), Field(description=GREY)]
Ratio = Annotated[float, Field(gt=0, le=LARGEST_RATIO)]
Ratios = Annotated[Ratio | list[Ratio], AfterValidator(distinct), Field(description=RATIOS)]
Fraction = Annotated[float, Field(gt=0, lt=1, description="a number in (0, 1)")]
File = Annotated[Any, AfterValidator(existing)]
Images = Annotated[str, AfterValidator(images_at), Field(description="a folder or zip archive of images")]
# Shared out over images and radii it still differs from 0 and 1.
Confidence = Annotated[
    float, Field(ge=1e-6, le=1 - 1e-9, description="a number in (0, 1), 1e-6 to 1 - 1e-9; write 0.99 for 99 %")
]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1, description="a whole number >= 0 and < 2^32")]
AnySeed = Annotated[int, Field(ge=-(2**63), lt=2**63, description="a whole number of 64 bits")]
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS, description=f"a whole number >= 0 and <= {MOST_WORKERS}")]
Threads = Annotated[int, Field(ge=1, le=MOST_THREADS, description=f"a whole number >= 1 and <= {MOST_THREADS}")]
Rate = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False, description="a number > 0 and <= 1000")]
Devices = Annotated[
    Any,
    AfterValidator(devices),
    Field(description="how many (a whole number >= 1), -1 or auto (all), or a list of GPUs: [0,2]"),
]
Channels = Annotated[int, AfterValidator(grey_or_colour), Field(description="1 (grey) or 3 (red, green, blue)")]
Seconds = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False, description="a number > 0 (seconds), <= 1e6")]
Tags = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]], Field(description="texts of 1 to 64 characters")
]
Modules = Annotated[list[str], AfterValidator(modules), Field(description="a list of modules: trust=[my_package]")]
Folder = Annotated[str, Field(min_length=1, description="a folder")]
Paths = Annotated[
    Any,
    AfterValidator(paths),
    Field(description="a path or glob of run folders, or a list of such: runs='outputs/cs_ord/*'"),
]
NewFolder = Annotated[str, AfterValidator(paths), Field(description="the path of a folder")]
Address = Annotated[str, AfterValidator(address), Field(description=ADDRESS)]
Joint = Literal["none", "bonferroni"]
Certifiers = Annotated[str | list[str], AfterValidator(distinct)]
