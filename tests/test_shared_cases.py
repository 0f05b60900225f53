"""The inputs from hard use that a developer may have beside the project: none of them runs code or raises a trace."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch

from invsmooth.core.errors import CheckpointError, DataError
from invsmooth.core.hashes import array_sha256
from invsmooth.data import image_files, load, read_image
from invsmooth.estimators import ISTANetPP, load_checkpoint
from invsmooth.operators.matrices import read_matrix
from invsmooth.records.certificate_files.format import checksum, read_record
from invsmooth.verify import run
from tests.certificate_files.made import make

CASES = Path(__file__).parents[2] / "shared" / "cases"
PASS = (
    "cert_raw_bigint2.json",
    "cert_raw_int_400.json",
    "cert_raw_1e999.json",
    "cert_raw_nan.json",
    "cert_raw_deep3.json",
)
"""Copies of the file itself: what they change is not in a file of ours."""
SAID = {0: "ok   ", 2: "WRONG", 3: "NOT CHECKED"}
HARMLESS = ("ov_", "rce_", "s_f64")
"""Whose network is a good one; what is wrong with them is not for load_checkpoint."""

# The scripts leave files open.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs a script of CASES on a file of ours; where its output is, which is also the current folder."""
    if not CASES.is_dir():
        pytest.skip(f"needs the cases at {CASES}, which are not part of the project")
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    monkeypatch.syspath_prepend(out)
    # The scripts import from where these functions were when they were written.
    old = ModuleType("invsmooth.certificate_files.format")
    vars(old).update(read_record=read_record, checksum=checksum, array_sha256=array_sha256)
    monkeypatch.setitem(sys.modules, "invsmooth.certificate_files", ModuleType("invsmooth.certificate_files"))
    monkeypatch.setitem(sys.modules, old.__name__, old)

    def made(name: str, source: Path) -> Path:
        monkeypatch.setattr(sys, "argv", [name, str(source), str(out)])
        runpy.run_path(str(CASES / name))
        return out

    return made


def test_checkpoints(script, tmp_path: Path) -> None:
    description = {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 1, "channels": 4}
    state = {f"estimator.{k}": v for k, v in ISTANetPP(1, 4).state_dict().items()}
    saved = {"estimator": description, "operator": {"matrix": None}, "choices": {}}
    torch.save({"state_dict": state, "hyper_parameters": saved}, tmp_path / "a.ckpt")
    out = script("make_checkpoints.py", tmp_path / "a.ckpt")
    files = [p for p in out.iterdir() if p.name != "beside.py"]
    assert len(files) > 60
    for path in files:
        if path.name.startswith(HARMLESS) and path.name != "ov_hp5.ckpt":
            load_checkpoint(path)
            continue
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path)
        assert str(error.value).startswith(f"{path} ")
        assert str(error.value).isprintable()
    assert not list(out.glob("RAN*"))


def test_images_and_matrices(tmp_path: Path) -> None:
    files = CASES / "files"
    if not files.is_dir():
        pytest.skip(f"needs the cases at {CASES}, which are not part of the project")
    for name in ("t32_int_of_8bit.tif", "multi.tif", "anim.gif"):
        with pytest.raises(DataError, match=name):
            read_image(files / name)
    assert read_image(files / "t12bit.tif").max() > 0.99
    levels = tifffile.imread(files / "t16_white_is_zero.tif")
    assert torch.equal(read_image(files / "t16_white_is_zero.tif")[0], 1 - torch.from_numpy(levels / np.float32(65535)))
    for path in (*files.glob("*.npy"), *files.glob("*.mat")):
        with pytest.raises(ValueError, match=path.name):
            read_matrix(path)
    read_matrix(files / "OK.MAT")
    assert next(iter(image_files(files / "backslash.zip"))) == "set/0.png"
    for name in ("deflate64.zip", "encrypted.zip"):
        with pytest.raises(DataError, match=name):
            load(image_files(files / name), tmp_path / "cache")


def test_certificate_files(script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = script("make_certificates.py", make(tmp_path / "run", "discrepancy")[0])
    files = sorted(out.glob("cert_*.json"))
    assert len(files) > 80
    for path in files:
        for options in ((), ("--rerun",)):
            capsys.readouterr()
            code = run([str(path), *options])
            text = capsys.readouterr().out
            assert text.replace("\n", "").isprintable()
            assert f"{SAID[code]}  {path}: " in text
            assert "cannot be checked" not in text
        # 3: right in itself, but its weights are not there to draw again, or their class is not trusted.
        assert code == 2 or path.name in PASS or (code == 3 and "the file alone holds" in text)
    assert not list(out.glob("RAN*"))
