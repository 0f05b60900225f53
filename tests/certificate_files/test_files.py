"""Writing and reading certificate files, and what the command line says of files that are none."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from invsmooth.certificates.fields import real
from invsmooth.core.hashes import array_sha256
from invsmooth.records.certificate_files.format import (
    FORMAT,
    checksum,
    find_files,
    read_arrays,
    read_record,
    write_arrays,
    write_record,
)
from invsmooth.records.pictures import setting_name
from invsmooth.verify import run
from tests.certificate_files.made import NAMES, make, save


def test_round_trip_is_exact(tmp_path: Path) -> None:
    numbers = [
        0.1,
        1 / 3,
        5e-324,
        1.7976931348623157e308,
        -0.0,
        float(np.float32(0.1)),
        real(math.nan),
        real(-math.inf),
    ]
    record = {"format": FORMAT, "version": 2, "certificates": [{"draws": numbers}], "image": "ü"}
    write_record(tmp_path / "a.json", record)
    again = read_record(tmp_path / "a.json")
    assert again.pop("sha256") == checksum(record)
    assert again == record
    assert str(again["certificates"][0]["draws"]) == str(numbers)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    arrays = {"clean": np.arange(6, dtype=np.float32).reshape(2, 3)}
    write_arrays(tmp_path / "a.npz", arrays)
    assert array_sha256(read_arrays(tmp_path / "a.npz")["clean"]) == array_sha256(arrays["clean"])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, {"format": FORMAT, "version": 2, "certificates": []})
    before = path.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(path, {"certificates": [math.nan]})
    with pytest.raises(ValueError, match="Object arrays"):
        write_arrays(tmp_path / "a.npz", {"y": np.array([{}], dtype=object)})
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_every_image_has_a_file(tmp_path: Path) -> None:
    """Two names that are the same as file names do not overwrite each other."""
    files = make(tmp_path, "error")
    assert {read_record(f)["image"]["key"] for f in files} == set(NAMES)
    digests = [hashlib.sha256(name.encode()).hexdigest()[:8] for name in NAMES]
    assert {f.name for f in files} == {f"a_b_ç-{digest}_ratio0.5_b5.json" for digest in digests}
    assert all(f.with_suffix(".npz").is_file() for f in files)
    arrays = read_arrays(files[0].with_suffix(".npz"))
    assert {k: (a.shape, a.dtype) for k, a in arrays.items()} == {
        "clean": ((18, 2, 2), np.float32), "x": ((1, 11, 10), np.float32),
    }  # fmt: skip
    # Each attack has a measurement, the one of eps = 0 is the clean one; nothing here compares with x.
    attacked = read_arrays(make(tmp_path / "attacked", "discrepancy")[0].with_suffix(".npz"))
    assert set(attacked) == {"clean", "attacked_1", "attacked_2"}


def test_files_folders_and_globs(tmp_path: Path) -> None:
    files = make(tmp_path / "run [1]", "error")
    (tmp_path / "run [1]" / "run.json").write_text("{}")
    folder = tmp_path / "run [1]"
    given = [folder, folder / "certificates", tmp_path, tmp_path / "run*" / "certificates" / "*.json", *files]
    for pattern in given:
        assert [f.resolve() for f in find_files([str(pattern)])] == (files if pattern not in files else [pattern])
    assert len(find_files([str(f) for f in files] + [str(f) for f in files])) == 2
    (tmp_path / "copied").mkdir()
    for file in folder.glob("certificates/*"):
        (tmp_path / "copied" / file.name).write_bytes(file.read_bytes())
    assert len(find_files([str(tmp_path / "copied")])) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no whole JSON file"),
        (b'{"format": "invsm', "is no whole JSON file"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"[" * 100000, "is no whole JSON file"),
        (b"[1, 2]", "is JSON, but no certificate file"),
        (b'{"status": "finished"}', "is JSON, but no certificate file"),
        (b'{"format": "invsmooth certificates"}', "has format version None"),
        (b'{"format": "invsmooth certificates", "version": 3}', "made by a newer invsmooth; this one reads version 2"),
        (b'{"format": "invsmooth certificates", "version": true}', "has format version True"),
        (b'{"format": "invsmooth certificates", "version": 2, "a": NaN}', "it holds NaN"),
        (b'{"format": "invsmooth certificates", "version": 2, "a": 1e999}', "it holds 1e999"),
        (b'{"format": "invsmooth certificates", "version": 2, "version": 2}', "names a field twice: version"),
        (b'{"format": "invsmooth certificates", "version": 2}', "is missing"),
    ],
)
def test_bad_files_are_one_message(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    good = make(tmp_path / "run", "error")[0]
    assert run([str(good), str(path)]) == 2
    out = capsys.readouterr().out
    assert out.count(message) >= 1
    assert f"WRONG  {path}: " in out
    assert "2 files, 1 hold up with 1 certificates, 1 do not" in out


def test_without_rerun_no_torch_is_needed(tmp_path: Path) -> None:
    """In a process of its own; the names of images and folders may be any."""
    make(tmp_path / "Läufe", "error", "mean", "center")
    code = (
        "import sys\nfrom invsmooth.verify import run\nassert run(sys.argv[1:]) == 0\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "Läufe"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    name = setting_name("a/b ç", 0.5, 5)
    assert (
        f"ok     Läufe/certificates/{name}.json: a/b ç, 3 certificates (center, error, mean), 9 bounds" in done.stdout
    )


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for pattern in (tmp_path, tmp_path / "none.json", tmp_path / "*.json"):
        assert run([str(pattern)]) == 2
        assert f"error: {pattern}: no certificate file there" in capsys.readouterr().err
    for arguments in ([], ["a", "--ckpt", "b"], ["a", "--rerun", "--chunk-size", "0"], ["a", "--other"]):
        with pytest.raises(SystemExit) as stop:
            run(arguments)
        assert stop.value.code == 2


def test_many_findings_are_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, "error", eps=[0.001 * k for k in range(30)])[0]
    record = read_record(path)
    for row in record["certificates"][0]["radii"]:
        row["bound"] = 0.0
    save(path, record, seal=True)
    assert run([str(path)]) == 2
    out = capsys.readouterr().out
    assert "30 findings" in out
    assert "… and 10 more" in out
