"""``python -m invsmooth.data`` and the data sets on the other command lines, as a user runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.test_cli import CS, TINY, run, run_folder
from tests.data.pictures import save
from tests.data.server import Server, serving
from tests.data.test_splits import make

SMALL = [*TINY, *CS, "attack.eps=[0,0.1]", "certify.sigma=25", "report=false"]


def test_list_prepare_and_verify(shared_data: Path, tmp_path: Path) -> None:
    listed = run(tmp_path, "data", "list", "--root", str(shared_data)).stdout
    for name, count in (("train400", 400), ("bsd68", 68), ("set12", 12), ("set11", 11), ("imagenet", 60)):
        (line,) = [line for line in listed.splitlines() if f" {name} " in line]
        assert f" {count} " in line
        assert str(shared_data / name) in line
    assert "not here; to fetch from data.vision.ee.ethz.ch" in listed
    prepared = run(tmp_path, "data", "prepare", "bsd68", "imagenet", "--root", str(shared_data)).stdout
    assert "bsd68, validation and test: 68 images ready" in prepared
    assert "imagenet, validation and test: 60 images ready" in prepared
    verified = run(tmp_path, "data", "verify", "--root", str(shared_data)).stdout
    for name, count in (("train400", 400), ("bsd68", 68), ("set12", 12), ("set11", 11), ("imagenet", 60)):
        use = "training" if name == "train400" else "validation and test"
        assert f"{name}, {use}: {count} images, {count} compared with their checksums, 0 wrong" in verified


def test_verify_names_what_differs(tmp_path: Path) -> None:
    """Files with the names of a set and other contents."""
    make(tmp_path / "set12", "set12")
    (tmp_path / "set12" / "07.png").write_bytes(b"no image")
    done = run(tmp_path, "data", "verify", "set12", "--root", str(tmp_path), code=2)
    assert "set12, validation and test: 12 images, 12 compared with their checksums, 12 wrong" in done.stdout
    assert "07.png differs from what was published" in done.stderr
    (tmp_path / "set12" / "08.png").unlink()
    done = run(tmp_path, "data", "verify", "--root", str(tmp_path), code=2)
    assert "set12 in" in done.stderr
    assert "is not complete: 1 of 12 files are missing (08.png)" in done.stderr
    save(tmp_path / "imagenet" / "n00000001" / "a.JPEG")
    (tmp_path / "imagenet" / "n00000001" / "b.JPEG").write_bytes(b"no image")
    done = run(tmp_path, "data", "verify", "imagenet", "--root", str(tmp_path), code=2)
    assert "b.JPEG cannot be read as an image" in done.stderr
    assert "not in" in run(tmp_path, "data", "verify", "set11", "--root", str(tmp_path), code=2).stderr


def test_unknown_set(tmp_path: Path) -> None:
    done = run(tmp_path, "data", "prepare", "bsd86", code=2)
    assert "bsd86 is no published data set; known are train400, div2k, bsd68" in done.stderr


def test_prepare_fetches_to_the_default_folder_and_train_finds_it(shared_data: Path, tmp_path: Path) -> None:
    """The real checksums against the real files, served from 127.0.0.1 at the published paths."""
    at = "/jianzhangcs/ISTA-Netpp/ce2a1022e522efe2536c26f65f624fd6a6f364c2/data/Set11/"
    with serving(Server(files={f"{at}{p.name}": p.read_bytes() for p in (shared_data / "set11").iterdir()})) as server:
        server.faults = {f"{at}boats.tif": ["break"], f"{at}house.tif": [503]}
        home = {"INVSMOOTH_DATA": str(tmp_path / "data"), "INVSMOOTH_MIRROR": server.url}
        done = run(tmp_path, "data", "prepare", "set11", **home)
        assert "set11, validation and test: 11 images ready" in done.stdout
        assert len(server.requests) == 13
        # Evaluated from there, without a root; the server is not asked again.
        tiny = [*TINY, "data.limit=1", "attack.eps=0", "certify.sigma=25", "report=false"]
        evaluated = run(tmp_path, "evaluate", "task=cs", "estimator=ridge", "data=set11", *tiny, **home)
        assert len(server.requests) == 13
    rows = pd.read_parquet(run_folder(evaluated) / "results.parquet")
    assert set(rows["dataset"]) == {"set11"}
    assert set(rows["image"]) == {"Monarch.tif"}


@pytest.mark.parametrize("root", [False, True])
def test_offline_without_data_is_one_message(tmp_path: Path, root: bool) -> None:
    """Where it was looked for, the download, and what needs none; nothing is left behind."""
    where = tmp_path / "data"
    where.mkdir()
    arguments = ["task=denoise", "data=train400", "data/test=bsd68", *([f"data.root={where}"] if root else [])]
    # Nothing listens at port 1.
    done = run(tmp_path, "train", *arguments, code=2, INVSMOOTH_DATA=str(where), INVSMOOTH_MIRROR="http://127.0.0.1:1")
    for part in (f"train400 is not in {where}", "looked for train400, Train400, TrainingCodes", "data=bundled"):
        assert part in done.stderr
    assert ("https://raw.githubusercontent.com/cszn" if root else "127.0.0.1:1/cszn/DnCNN") in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("error:") == 1
    assert not [p for p in where.rglob("*") if p.is_file() and p.name != ".lock"]


def test_train_on_one_set_and_test_on_another(shared_data: Path, tmp_path: Path) -> None:
    common = [*SMALL, f"data.root={shared_data}", "data=train400"]
    on_set11 = run_folder(run(tmp_path, "train", *common, "data.limit=2", "seed=0"))
    rows = pd.read_parquet(on_set11 / "results.parquet")
    assert set(rows["dataset"]) == {"set11"}
    assert set(rows["image"]) == {"Monarch.tif", "Parrots.tif"}
    denoise = [
        "task=denoise_small",
        "estimator.n_steps=1",
        "estimator.channels=4",
        "trainer.max_steps=2",
        "data/test=bsd68",
    ]
    results = [
        pd.read_parquet(
            run_folder(run(tmp_path, "train", *TINY, *denoise, "data=train400", f"data.root={shared_data}", "data.limit=2",
                           "attack.eps=0", "certify.sigma=25", "report=false", f"seed={seed}")) / "results.parquet"
        )
        for seed in (0, 1)
    ]  # fmt: skip
    assert set(results[0]["image"]) == {"test001.png", "test002.png"}
    # Another seed is another network, but the measurements y = x + b are the same.
    np.testing.assert_array_equal(results[0]["psnr_measured"], results[1]["psnr_measured"])
    assert not np.allclose(results[0]["psnr_clean"], results[1]["psnr_clean"])
