"""Type hints of config keys: what a value may be, checked by pydantic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from invsmooth.core.parameters import LARGEST_RATIO, NotNegative
from invsmooth.records.origin import A_NAME, is_name


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


def one_of(*names: str) -> Any:
    """In place of ``Literal``, which OmegaConf does not know."""
    return Field(pattern=rf"^({'|'.join(names)})$", description=", ".join(names))


RADII = "numbers >= 0 (l2 norm over one whole image, pixels in [0, 1]), no two equal"
GREY = "numbers >= 0 (standard deviation in 8-bit grey levels), no two equal"
RATIOS = f"numbers in (0, {LARGEST_RATIO:g}], no two equal; write 0.5 for 50 %"
Name = Annotated[str, AfterValidator(named), Field(description=A_NAME)]
Radii = Annotated[NotNegative | list[NotNegative], AfterValidator(distinct), Field(description=RADII)]
GreyLevels = Annotated[NotNegative | list[NotNegative], AfterValidator(distinct), Field(description=GREY)]
Ratio = Annotated[float, Field(gt=0, le=LARGEST_RATIO)]
Ratios = Annotated[Ratio | list[Ratio], AfterValidator(distinct), Field(description=RATIOS)]
Fraction = Annotated[float, Field(gt=0, lt=1, description="a number in (0, 1)")]
File = Annotated[Any, AfterValidator(existing)]
Images = Annotated[str, AfterValidator(images_at), Field(description="a folder or zip archive of images")]
Confidence = Annotated[float, Field(gt=0, lt=1, description="a number in (0, 1); write 0.99 for 99 %")]
Channels = Annotated[int, AfterValidator(grey_or_colour), Field(description="1 (grey) or 3 (red, green, blue)")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number > 0 (seconds)")]
Tags = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]], Field(description="texts of 1 to 64 characters")
]
Modules = Annotated[list[str], AfterValidator(modules), Field(description="a list of modules: trust=[my_package]")]
Folder = Annotated[str, Field(min_length=1, description="a folder")]
Joint = Literal["none", "bonferroni"]
Certifiers = Annotated[str | list[str], AfterValidator(distinct)]
