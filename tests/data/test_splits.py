"""Where the published sets are found, and which images train, validate and test."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invsmooth.core.errors import DataError
from invsmooth.data import ImageArrays, arrays, find_splits, in_memory, known_sets, load
from invsmooth.data.datamodule import ImageDataModule, PatchSettings, check_sizes
from invsmooth.data.files import as_image_files
from invsmooth.data.locate import find
from invsmooth.data.sets import BSD68, DIV2K, Bundled, Folder, ImageNet, Set11, Set12, Train400, published_sets
from tests.data.pictures import noise, save

COUNTS = {"train400": 400, "bsd68": 68, "set12": 12, "set11": 11, "imagenet": 60}
TESTED = BSD68.parts["test"]


def make(folder: Path, name: str = "bsd68", role: str = "test") -> Path:
    """A folder with the file names of a set and tiny pictures."""
    for k, file in enumerate(published_sets()[name].parts[role].files):
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
    found = find(TESTED, tmp_path)
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
        found = find(TESTED, given)
        assert found is not None
        assert list(found) == list(TESTED.files)
        assert len(load(found, tmp_path / "cache")) == 68


def test_other_archives_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.zip").write_bytes(b"no archive at all")
    assert find(TESTED, tmp_path) is None


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
        found = find(DIV2K.parts[role], tmp_path / "root")
        assert found is not None
        assert len(found) == count


def test_an_incomplete_set_is_named(tmp_path: Path) -> None:
    make(tmp_path / "bsd68")
    for k in (3, 17):
        (tmp_path / "bsd68" / f"test{k:03}.png").unlink()
    with pytest.raises(DataError, match=r"is not complete: 2 of 68 files are missing \(test003\.png, test017\.png\)"):
        find(TESTED, tmp_path)
    # A second place that has all of it is as good.
    make(tmp_path / "testsets" / "BSD68")
    assert find(TESTED, tmp_path) is not None


def imagenet(folder: Path) -> Path:
    for c in range(3):
        for k in range(4 + c):
            side = 20 if (c, k) == (1, 0) else 40
            save(folder / f"n0000000{c}" / f"{k}.JPEG", noise(10 * c + k, side, 40))
    return folder


@pytest.mark.parametrize("place", ["imagenet", "val", "ILSVRC/Data/CLS-LOC/val", "."])
def test_imagenet_classes_and_count(tmp_path: Path, place: str) -> None:
    imagenet(tmp_path / place)
    every = ImageNet(str(tmp_path))
    assert len(every.files("test")) == 15
    chosen = ImageNet(str(tmp_path), classes=["n00000000", "n00000001"], count=3, crop=32)
    # One of each class in turn; the one that is smaller than the crop is passed over.
    assert list(chosen.files("test")) == ["n00000000/0.JPEG", "n00000000/1.JPEG", "n00000001/1.JPEG"]
    with pytest.raises(DataError, match="there are no images of n09999999"):
        ImageNet(str(tmp_path), classes=["n09999999"]).files("test")
    with pytest.raises(DataError, match="there are only 14 such images"):
        ImageNet(str(tmp_path), count=15, crop=32).files("test")


def test_imagenet_in_an_archive(tmp_path: Path) -> None:
    zip_up(imagenet(tmp_path / "files"), tmp_path / "imagenet.zip", "imagenet/")
    assert len(ImageNet(str(tmp_path)).files("test")) == 15


def test_imagenet_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVSMOOTH_DATA", str(tmp_path))
    for root in (None, str(tmp_path)):
        with pytest.raises(
            DataError, match=r"register at https://image-net\.org.*imagenet/<class>/<image>\.JPEG"
        ) as error:
            ImageNet(root).files("test")
        assert str(tmp_path) in str(error.value)
        assert "data=bundled" in str(error.value)


def test_a_set_that_has_nothing_for_a_role() -> None:
    with pytest.raises(DataError, match="bsd68 has no images to train on"):
        BSD68().files("train")


def test_sets_are_found_by_name_and_say_their_splits() -> None:
    assert {name: c.splits for name, c in known_sets().items()} == {
        "bundled": ("train", "val", "test"), "folder": ("train", "val", "test"), "train400": ("train",),
        "div2k": ("train", "val", "test"), "bsd68": ("val", "test"), "set12": ("val", "test"), "set11": ("val", "test"),
        "imagenet": ("val", "test"),
    }  # fmt: skip


class Squares:
    """A set of somebody else's: arrays, in memory. The same images for every split."""

    name = "squares"

    def __init__(self, kind: type = np.uint8) -> None:
        self.kind = kind

    def files(self, split: str) -> dict[str, np.ndarray]:
        return {f"{k}": noise(k) if self.kind is np.uint8 else (noise(k) / 255).astype(self.kind) for k in range(5)}


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_an_outside_set_gives_arrays(tmp_path: Path, kind: type) -> None:
    splits = find_splits(Squares(kind), None, Squares(kind), 0.2)
    assert {s: len(v) for s, v in splits.items()} == {"train": 3, "val": 1, "test": 1}
    images = load(splits["train"], tmp_path)
    np.testing.assert_allclose(images.image(0)[0], noise(int(images.names[0])) / 255, atol=1e-7)
    mixed = find_splits(Bundled(), None, Squares(kind), 0.2)
    assert {s: len(v) for s, v in mixed.items()} == {"train": 5, "val": 1, "test": 5}


def test_a_large_set_of_arrays_and_files_is_prepared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CACHED_FROM", 0)
    files = as_image_files({**Bundled().files("test"), **Squares().files("test")}, "mixed")
    first = load(files, tmp_path)
    changed = as_image_files({**Bundled().files("test"), **Squares().files("test"), "4": noise(9)}, "mixed")
    again, other = load(files, tmp_path), load(changed, tmp_path)
    assert first.sha256 == again.sha256 != other.sha256
    assert len({p.parent for p in tmp_path.rglob("pixels")}) == 2


@pytest.mark.parametrize("image", [np.zeros((4, 8, 8)), np.zeros((8, 8), int), None])
def test_an_outside_set_gives_no_image(image: object) -> None:
    with pytest.raises(DataError, match=r"mine: a is a .* a data set gives ImageFile, paths, or arrays"):
        as_image_files({"a": image}, "mine")


@pytest.mark.parametrize("name", ["bild ü", "plain"])
def test_a_folder_is_split_and_shares_no_image(tmp_path: Path, name: str) -> None:
    for k in range(12):
        save(tmp_path / f"{name} {k:02}.png", noise(k))
    folder = Folder(str(tmp_path))
    splits = find_splits(folder, None, folder, 0.25)
    assert {s: len(v) for s, v in splits.items()} == {"train": 9, "val": 1, "test": 2}
    assert len({n for v in splits.values() for n in v}) == 12
    assert len(find_splits(None, None, folder, 0.25)["test"]) == 12


def test_a_folder_with_split_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        save(tmp_path / split / "deep" / f"{split}.png")
    folder = Folder(str(tmp_path))
    splits = find_splits(folder, None, folder, 0.2)
    assert {s: list(v) for s, v in splits.items()} == {s: [f"deep/{s}.png"] for s in ("train", "val", "test")}
    assert list(find_splits(None, None, folder, 0.2)["test"]) == ["deep/test.png"]


def test_a_folder_with_too_few_images(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / f"{k}.png", noise(k))
    folder = Folder(str(tmp_path))
    with pytest.raises(DataError, match="2 images; at least 3"):
        find_splits(folder, None, folder, 0.2)


def test_a_folder_to_train_on_and_another_set_to_test_on(tmp_path: Path) -> None:
    for k in range(10):
        save(tmp_path / f"{k}.png", noise(k))
    splits = find_splits(Folder(str(tmp_path)), None, Bundled(), 0.2)
    assert {s: len(v) for s, v in splits.items()} == {"train": 8, "val": 2, "test": 3}
    save(tmp_path / "one" / "0.png")
    with pytest.raises(DataError, match="1 images to train on are too few"):
        find_splits(Folder(str(tmp_path / "one")), None, Bundled(), 0.2)


def test_bundled_photographs(tmp_path: Path) -> None:
    splits = find_splits(Bundled(), Bundled(), Bundled(), 0.2)
    names = [name for images in splits.values() for name in images]
    assert len(names) == len(set(names)) == 10
    assert {s: len(v) for s, v in splits.items()} == {s: len(v) for s, v in Bundled.photographs.items()}
    for files in splits.values():
        images = load(files, tmp_path)
        assert images.shapes.min() >= 300
        assert 0 <= images.pixels.min() < images.pixels.max() <= 255


def module(**images: ImageArrays) -> ImageDataModule:
    return ImageDataModule(
        name="set", load={split: (lambda i=i: i) for split, i in images.items()},
        patches=PatchSettings(8, 4, 20, augment=True, seed=3), crop=12, val_crop=None, n_settings=1, num_workers=0,
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


def test_images_too_small_for_the_crop(caplog: pytest.LogCaptureFixture) -> None:
    images = in_memory({"a": noise(0, 30, 10), "b": noise(1, 30, 28)})
    check_sizes(images, None)
    assert "1 of 2 images have no SSIM" in caplog.text
    with pytest.raises(DataError, match=r"2 of 2 images .* 29×29 .*data\.crop=29.*: a \(30×10\), b \(30×28\)"):
        check_sizes(images, 29)
    check_sizes(in_memory({"b": noise(1, 30, 28)}), 28)


@pytest.mark.parametrize("name", COUNTS)
def test_shared_sets_load_and_are_counted(shared_data: Path, tmp_path: Path, name: str) -> None:
    split = "train" if name == "train400" else "test"
    images = load(published_sets()[name](str(shared_data)).files(split), tmp_path)
    assert len(images) == len(set(images.sha256)) == COUNTS[name]


def test_overlap_of_the_shared_sets(shared_data: Path, tmp_path: Path) -> None:
    """Set12 and Set11 have three pictures in common, Train400 has none with any test set."""
    root = str(shared_data)
    splits = find_splits(Train400(root), Set12(root), Set11(root), 0.2)
    images = {split: load(files, tmp_path) for split, files in splits.items()}
    assert len(set(images["val"].sha256) & set(images["test"].sha256)) == 3
    data = ImageDataModule(
        name="set11", load={s: (lambda i=i: i) for s, i in images.items()},
        patches=PatchSettings(33, 4, 20, augment=True, seed=3), crop=None, val_crop=None, n_settings=1, num_workers=0,
    )  # fmt: skip
    data.setup("fit")
    assert {s: len(i) for s, i in data.images.items()} == {"train": 400, "val": 9, "test": 11}
    assert not {"01.png", "03.png", "05.png"} & set(data.images["val"].names)
    bsd68 = load(BSD68(root).files("test"), tmp_path)
    assert not set(images["train"].sha256) & set(bsd68.sha256)


class Mistaken:
    """A data set with a mistake."""

    name = "mistaken"

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake

    def files(self, split: str) -> Any:
        if self.mistake == "raises":
            raise KeyError("a bug")
        if self.mistake == "same":
            return {name: np.zeros((8, 8)) for name in "ab"}
        return {"generator": (k for k in "ab"), "numbers": {1: np.zeros((8, 8))}}[self.mistake]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("raises", r"Mistaken.files\('test'\) fails: KeyError: 'a bug' \(.*test_splits.py, line "),
        ("generator", "gave a generator; a dictionary is needed"),
        ("numbers", "gave a dict with names that are no texts"),
    ],
)
def test_a_class_that_gives_no_images_is_refused(mistake: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_splits(None, None, Mistaken(mistake), 0.1)  # type: ignore[arg-type]


def test_a_class_that_ignores_the_split() -> None:
    given = Mistaken("same")
    with pytest.raises(
        DataError, match=r"^Mistaken.files gives the same for train and test: it has 2 images; at least 3"
    ):
        find_splits(given, None, given, 0.1)  # type: ignore[arg-type]
