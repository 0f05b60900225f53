from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invsmooth.core.errors import DataError
from invsmooth.data import image_files, read_image
from invsmooth.data.archives import check_archive, members
from invsmooth.data.decode import centre_crop, image_size, is_8_bit, read_pixels
from invsmooth.data.files import ImageFile
from tests.data.pictures import GREY, save


def test_grey_colour_alpha_and_palette(tmp_path: Path) -> None:
    expected = torch.from_numpy(GREY / 255).float()[None]
    for name, mode in {
        "grey.png": None,
        "rgb.png": "RGB",
        "rgba.png": "RGBA",
        "la.png": "LA",
        "grey.tif": None,
    }.items():
        torch.testing.assert_close(read_image(save(tmp_path / name, GREY, mode)), expected)
    palette = Image.fromarray(GREY).convert("P")
    palette.putpalette([v for g in range(256) for v in (255 - g, 255 - g, 255 - g)])
    palette.save(tmp_path / "palette.png")
    torch.testing.assert_close(read_image(tmp_path / "palette.png"), 1 - expected)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 3), dtype=np.uint8)
    rgb[..., 1] = 200
    value = float(read_image(save(tmp_path / "green.png", rgb))[0, 0, 0])
    assert value == pytest.approx(0.587 * 200 / 255, abs=1 / 255)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = (GREY.astype(np.uint16) << 8) + 77
    for name in ("deep.png", "deep.tif"):
        path = save(tmp_path / name, deep)
        torch.testing.assert_close(read_image(path)[0].numpy(), (deep / 65535).astype(np.float32))
        assert not is_8_bit(ImageFile(path))
    assert is_8_bit(ImageFile(save(tmp_path / "grey.png")))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (1, 10, 12)


def test_float_image_outside_the_unit_range(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        read_image(save(tmp_path / "float.tif", GREY.astype(np.float32)))


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in"):
        image_files(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        image_files(tmp_path / "none")


def test_files_are_found_below_the_folder_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b/ü 1.png", "a.JPG", ".hidden.png", "b/.c/d.png", "b/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list(image_files(tmp_path)) == ["a.JPG", "b/ü 1.png"]


def test_images_in_a_zip_archive_are_read_as_in_a_folder(tmp_path: Path) -> None:
    path = save(tmp_path / "folder" / "deep" / "ä.png")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(path, "deep/ä.png")
        archive.writestr("__MACOSX/deep/._ä.png", b"rubbish")
    files = image_files(tmp_path / "some.zip")
    assert list(files) == list(image_files(tmp_path / "folder")) == ["deep/ä.png"]
    assert np.array_equal(read_pixels(files["deep/ä.png"]), GREY)
    assert image_size(files["deep/ä.png"]) == (12, 10)


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/evil.png", "C:/evil.png", "..\\evil.png"])
def test_an_archive_that_points_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(DataError, match="a path out of the archive"):
        members(tmp_path / "evil.zip")


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, b"/etc/passwd")
    with pytest.raises(DataError, match="a link"):
        members(tmp_path / "evil.zip")


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", bytes(range(256)) * 20)
    check_archive(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + b"xx" + whole[2002:])
    with pytest.raises(DataError, match=r"a\.png does not match its checksum"):
        check_archive(path)
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        read_pixels(ImageFile(path, "a.png"))
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        members(path)


def test_centre_crop() -> None:
    image = torch.arange(30.0).view(1, 5, 6)
    assert torch.equal(centre_crop(image, 3), image[:, 1:4, 1:4])
    assert centre_crop(image, None).shape == (1, 5, 6)
    assert centre_crop(image, 99).shape == (1, 5, 6)
