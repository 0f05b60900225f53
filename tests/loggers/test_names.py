"""Names of any kind, of images and of the run folder, in the files of W&B and TensorBoard."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from invsmooth.records.pictures import setting_name
from tests.loggers.runs import read, run

IMAGES = (
    "a b, c=d", "$\\frac{1}{2}$", "_^&%#{}~\\", "new\nline", "esc\x1b[31m", "<script>x", "**b** [l](u) `c` |", "\u202eright",
    "x" * 236, "像" * 80, "bad\udcff", "A", "a", "é", "e\u0301",
)  # fmt: skip
FOLDERS = ("a b,c=d $x_1$ %&#~^ <b>|'\" [m](u)", "像" * 80, "x" * 240)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for k, name in enumerate(IMAGES):
        with open(folder / f"{name}.png", "wb") as file:  # Pillow itself encodes no names
            Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 40), dtype=np.uint8)).save(file, "png")
    return folder


def evaluated(folder: Path, images: Path, logger: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> list[str]:
    """The names of the images in the rows."""
    monkeypatch.setattr("invsmooth.loggers.gallery.GALLERIES", len(IMAGES))
    settings = ["data/test=folder", f"data.test.root={images}", "data.limit=null", "trainer.max_steps=1",
                "attack.eps=[0.05]",
                "certify.sigma=25", "certify.n_samples=2", f"certify.pictures={len(IMAGES)}", "certify.files=true",
                "certify.certifiers=[error]", "report=false"]  # fmt: skip
    run(folder, f"logger={logger}", *(["logger.mode=offline"] if logger == "wandb" else []), *settings, *more)
    names = list(read(folder)["image"])
    assert len(names) == len(set(names)) == len(IMAGES)
    assert all(name.isprintable() or "\u0301" in name for name in names)
    stems = {setting_name(name, 0.1, 0) for name in names}
    assert {path.stem for path in (folder / "certificates").glob("*.json")} == stems
    assert len({stem.lower() for stem in stems}) == len(IMAGES)
    return names


@pytest.mark.parametrize("name", FOLDERS, ids=lambda name: ascii(name[:10]))
def test_wandb(name: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.loggers.wandb_file import offline_runs

    for variable in [n for n in os.environ if n.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = evaluated(tmp_path / name, images, "wandb", monkeypatch, f"task.name={'t' * 80}", "logger.tags=[mine]")
    (found,) = offline_runs(tmp_path / name)
    assert found.run.display_name == f"{tmp_path.name}/{name}"
    assert {"mine", "t" * 63 + "…"} < set(found.run.tags)
    assert found.exit_code == 0
    table = found.table("rows")
    at = table["columns"].index("image")
    assert [line[at] for line in table["data"]] == names
    for image in names:
        media = found.media(f"pictures/{setting_name(image, 0.1, 0)}")
        assert all((found.folder / "files" / file).is_file() for file in media["filenames"])


@pytest.mark.parametrize("name", FOLDERS[:2], ids=lambda name: ascii(name[:10]))
def test_tensorboard(name: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "needs the package tensorboard: pip install -e '.[tensorboard]'"
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    names = evaluated(tmp_path / name, images, "tensorboard", monkeypatch)
    events = accumulators.EventAccumulator(str(tmp_path / name / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    tags = {tag.split("/")[1] for tag in events.Tags()["images"] if tag.startswith("pictures/")}
    assert tags == {setting_name(image, 0.1, 0) for image in names}
    (said,) = events.Tensors("run/text_summary")
    text = said.tensor_proto.string_val[0].decode().removeprefix("```json").removesuffix("```")
    assert json.loads(text)["name"] == f"{tmp_path.name}/{name}"
