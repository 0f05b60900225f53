"""Where the published sets are found, and which images train, validate and test."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from invsmooth.core.errors import DataError
from invsmooth.data import ImageArrays, ImageSet, find_splits, in_memory, load
from invsmooth.data.bundled import PHOTOGRAPHS
from invsmooth.data.datamodule import ImageDataModule, check_sizes
from invsmooth.data.locate import find
from invsmooth.data.published import PUBLISHED, TEST_SETS, TRAIN_SETS, published
from tests.data.pictures import noise, save

COUNTS = {"train400": 400, "bsd68": 68, "set12": 12, "set11": 11, "imagenet": 60}
BSD68 = published("bsd68", "test")


def make(folder: Path, name: str = "bsd68", role: str = "test") -> Path:
    """A folder with the file names of a set and tiny pictures."""
    data = published(name, role)
    assert data is not None
    for k, file in enumerate(data.files):
        save(folder / file, noise(k))
    return folder


def zip_up(folder: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, f"{prefix}{path.relative_to(folder).as_posix()}")
    return archive


@pytest.mark.parametrize(
    "place",
    ["bsd68", "BSD68", "testsets/BSD68", "DnCNN/testsets/BSD68", "DnCNN-master/testsets/BSD68", "."],
)
def test_every_layout_of_a_folder(tmp_path: Path, place: str) -> None:
    make(tmp_path / place)
    found = find(BSD68, tmp_path)
    assert found is not None
    assert list(found) == [f"test{k:03}.png" for k in range(1, 69)]


@pytest.mark.parametrize(
    ("archive", "prefix"),
    [
        ("bsd68.zip", ""),
        ("BSD68.zip", "BSD68/"),
        ("DnCNN-master.zip", "DnCNN-master/testsets/BSD68/"),
        ("bsd68/BSD68.zip", "BSD68/"),
    ],
)
def test_every_layout_of_an_archive(tmp_path: Path, archive: str, prefix: str) -> None:
    root = tmp_path / "root"
    (root / archive).parent.mkdir(parents=True)
    zip_up(make(tmp_path / "files"), root / archive, prefix)
    for given in (root, root / archive):
        found = find(BSD68, given)
        assert found is not None
        assert list(found) == list(BSD68.files)
        assert len(load(found, tmp_path / "cache")) == 68


def test_other_archives_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.zip").write_bytes(b"no archive at all")
    assert find(BSD68, tmp_path) is None


@pytest.mark.parametrize("layout", ["div2k", "DIV2K", "", "zip", "div2k zip"])
def test_div2k_in_both_its_parts(tmp_path: Path, layout: str) -> None:
    for role, folder, count in (("train", "DIV2K_train_HR", 800), ("test", "DIV2K_valid_HR", 100)):
        files = make(tmp_path / "files" / folder, "div2k", role)
        root = tmp_path / "root" / ("div2k" if layout.startswith("div2k") else "DIV2K" if layout == "DIV2K" else "")
        root.mkdir(parents=True, exist_ok=True)
        if "zip" in layout:
            zip_up(files, root / f"{folder}.zip", f"{folder}/")
        else:
            shutil.move(files, root / folder)
        found = find(published("div2k", role), tmp_path / "root")
        assert found is not None
        assert len(found) == count


def test_an_incomplete_set_is_named(tmp_path: Path) -> None:
    make(tmp_path / "bsd68")
    for k in (3, 17):
        (tmp_path / "bsd68" / f"test{k:03}.png").unlink()
    with pytest.raises(DataError, match=r"is not complete: 2 of 68 files are missing \(test003\.png, test017\.png\)"):
        find(BSD68, tmp_path)
    # A second place that has all of it is as good.
    make(tmp_path / "testsets" / "BSD68")
    assert find(BSD68, tmp_path) is not None


def imagenet(folder: Path) -> Path:
    for c in range(3):
        for k in range(4 + c):
            side = 20 if (c, k) == (1, 0) else 40
            save(folder / f"n0000000{c}" / f"{k}.JPEG", noise(10 * c + k, side, 40))
    return folder


@pytest.mark.parametrize("place", ["imagenet", "val", "ILSVRC/Data/CLS-LOC/val", "."])
def test_imagenet_classes_and_count(tmp_path: Path, place: str) -> None:
    imagenet(tmp_path / place)
    every = ImageSet("imagenet", str(tmp_path))
    assert len(every.files("test")) == 15
    chosen = ImageSet("imagenet", str(tmp_path), classes=["n00000000", "n00000001"], count=3, crop=32)
    # One of each class in turn; the one that is smaller than the crop is passed over.
    assert list(chosen.files("test")) == ["n00000000/0.JPEG", "n00000000/1.JPEG", "n00000001/1.JPEG"]
    with pytest.raises(DataError, match="there are no images of n09999999"):
        ImageSet("imagenet", str(tmp_path), classes=["n09999999"]).files("test")
    with pytest.raises(DataError, match="there are only 14 such images"):
        ImageSet("imagenet", str(tmp_path), count=15, crop=32).files("test")


def test_imagenet_in_an_archive(tmp_path: Path) -> None:
    zip_up(imagenet(tmp_path / "files"), tmp_path / "imagenet.zip", "imagenet/")
    assert len(ImageSet("imagenet", str(tmp_path)).files("test")) == 15


def test_imagenet_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVSMOOTH_DATA", str(tmp_path))
    for root in (None, str(tmp_path)):
        with pytest.raises(
            DataError, match=r"register at https://image-net\.org.*imagenet/<class>/<image>\.JPEG"
        ) as error:
            ImageSet("imagenet", root).files("test")
        assert str(tmp_path) in str(error.value)
        assert "data=bundled" in str(error.value)


def test_a_set_that_has_nothing_for_a_role() -> None:
    with pytest.raises(DataError, match="bsd68 has no images to train on"):
        ImageSet("bsd68").files("train")


def test_published_sets_are_in_the_lists_of_the_config() -> None:
    for name in PUBLISHED:
        assert (name in TRAIN_SETS) == (published(name, "train") is not None)
        assert (name in TEST_SETS) == (published(name, "test") is not None)


@pytest.mark.parametrize("name", ["bild ü", "plain"])
def test_a_folder_is_split_and_shares_no_image(tmp_path: Path, name: str) -> None:
    for k in range(12):
        save(tmp_path / f"{name} {k:02}.png", noise(k))
    folder = ImageSet("folder", str(tmp_path))
    splits = find_splits(folder, "holdout", folder, 0.25)
    assert {s: len(v) for s, v in splits.items()} == {"train": 9, "val": 1, "test": 2}
    assert len({n for v in splits.values() for n in v}) == 12
    assert len(find_splits(None, "holdout", folder, 0.25)["test"]) == 12


def test_a_folder_with_split_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        save(tmp_path / split / "deep" / f"{split}.png")
    folder = ImageSet("folder", str(tmp_path))
    splits = find_splits(folder, "holdout", folder, 0.2)
    assert {s: list(v) for s, v in splits.items()} == {s: [f"deep/{s}.png"] for s in ("train", "val", "test")}
    assert list(find_splits(None, "holdout", folder, 0.2)["test"]) == ["deep/test.png"]


def test_a_folder_with_too_few_images(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / f"{k}.png", noise(k))
    folder = ImageSet("folder", str(tmp_path))
    with pytest.raises(DataError, match="2 images; at least 3"):
        find_splits(folder, "holdout", folder, 0.2)


def test_a_folder_to_train_on_and_another_set_to_test_on(tmp_path: Path) -> None:
    for k in range(10):
        save(tmp_path / f"{k}.png", noise(k))
    splits = find_splits(ImageSet("folder", str(tmp_path)), "holdout", ImageSet("bundled"), 0.2)
    assert {s: len(v) for s, v in splits.items()} == {"train": 8, "val": 2, "test": 3}
    save(tmp_path / "one" / "0.png")
    with pytest.raises(DataError, match="1 images to train on are too few"):
        find_splits(ImageSet("folder", str(tmp_path / "one")), "holdout", ImageSet("bundled"), 0.2)


def test_bundled_photographs(tmp_path: Path) -> None:
    splits = find_splits(ImageSet("bundled"), "bundled", ImageSet("bundled"), 0.2)
    names = [name for images in splits.values() for name in images]
    assert len(names) == len(set(names)) == 10
    assert {s: len(v) for s, v in splits.items()} == {s: len(v) for s, v in PHOTOGRAPHS.items()}
    for files in splits.values():
        images = load(files, tmp_path)
        assert images.shapes.min() >= 300
        assert 0 <= images.pixels.min() < images.pixels.max() <= 255


def module(**images: ImageArrays) -> ImageDataModule:
    return ImageDataModule(
        name="set", load={split: (lambda i=i: i) for split, i in images.items()}, patch_size=8, batch_size=4, n_patches=20,
        augment=True, crop=12, val_crop=None, n_settings=1, num_workers=0, seed=3,
    )  # fmt: skip


def test_no_picture_is_in_two_splits() -> None:
    """By the pixels, whatever the names: what is tested on is neither validated nor trained on, and so on."""
    train = in_memory({"1": noise(1), "2": noise(2), "3": noise(3)})
    val = in_memory({"a": noise(3), "b": noise(4), "c": noise(5)})
    data = module(train=train, val=val, test=in_memory({"x": noise(5), "y": noise(1)}))
    data.setup("fit")
    assert {s: i.names for s, i in data.images.items()} == {"test": ("x", "y"), "val": ("a", "b"), "train": ("2",)}
    assert [batch.names for batch in data.val_dataloader()] == [["a"], ["b"]]
    (tested,) = data.test_dataloader()
    assert [tuple(batch.x.shape) for batch in tested] == [(1, 1, 12, 12)] * 2
    assert set(train.image(1).flatten().tolist()) >= set(data.images["train"].image(0).flatten().tolist())


def test_a_split_without_an_image_of_its_own() -> None:
    same = in_memory({"1": noise(1)})
    with pytest.raises(DataError, match=r"no image is left for val: .*data\.val=holdout"):
        module(train=in_memory({"2": noise(2)}), val=same, test=same).setup("fit")


def test_images_too_small_for_the_crop_or_for_ssim() -> None:
    images = in_memory({"a": noise(0, 30, 10), "b": noise(1, 30, 28)})
    with pytest.raises(DataError, match=r"1 of 2 images are smaller than the 11×11 that SSIM needs: a \(30×10\)"):
        check_sizes(images, None)
    with pytest.raises(DataError, match=r"2 of 2 images .* 29×29 .*data\.crop=29.*: a \(30×10\), b \(30×28\)"):
        check_sizes(images, 29)
    with pytest.raises(DataError, match=r"data\.crop=8 is smaller"):
        check_sizes(in_memory({"b": noise(1, 30, 28)}), 8)
    check_sizes(in_memory({"b": noise(1, 30, 28)}), 28)


@pytest.mark.parametrize("name", COUNTS)
def test_shared_sets_load_and_are_counted(shared_data: Path, tmp_path: Path, name: str) -> None:
    split = "train" if name == "train400" else "test"
    images = load(ImageSet(name, str(shared_data)).files(split), tmp_path)
    assert len(images) == len(set(images.sha256)) == COUNTS[name]


def test_overlap_of_the_shared_sets(shared_data: Path, tmp_path: Path) -> None:
    """Set12 and Set11 have three pictures in common, Train400 has none with any test set."""
    root = str(shared_data)
    splits = find_splits(ImageSet("train400", root), "set12", ImageSet("set11", root), 0.2)
    images = {split: load(files, tmp_path) for split, files in splits.items()}
    assert len(set(images["val"].sha256) & set(images["test"].sha256)) == 3
    data = ImageDataModule(
        name="set11", load={s: (lambda i=i: i) for s, i in images.items()}, patch_size=33, batch_size=4, n_patches=20,
        augment=True, crop=None, val_crop=None, n_settings=1, num_workers=0, seed=3,
    )  # fmt: skip
    data.setup("fit")
    assert {s: len(i) for s, i in data.images.items()} == {"train": 400, "val": 9, "test": 11}
    assert not {"01.png", "03.png", "05.png"} & set(data.images["val"].names)
    bsd68 = load(ImageSet("bsd68", root).files("test"), tmp_path)
    assert not set(images["train"].sha256) & set(bsd68.sha256)
