"""Broken and forged certificate files: one line each that names the file, in seconds, and nothing in them runs."""

from __future__ import annotations

import copy
import io
import json
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invsmooth import verify
from invsmooth.core.hashes import array_sha256
from invsmooth.records.certificate_files import checks
from invsmooth.records.certificate_files.checks import findings
from invsmooth.records.certificate_files.format import (
    CertificateFileError,
    Record,
    checksum,
    read_arrays,
    read_record,
)
from invsmooth.verify import run
from tests.certificate_files.made import make, make_nearly_constant, save


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Record]]:
    found = {}
    for kind in ("error", "mean", "center", "anytime"):
        path = make(tmp_path_factory.mktemp(kind), kind)[0]
        found[kind] = path, read_record(path)
    return found


def verdict(path: Path, capsys: pytest.CaptureFixture[str], *options: str, word: str = "WRONG") -> str:
    """The one line about a file that is wrong, or its findings; nothing raw of the file is on the terminal."""
    started = time.perf_counter()
    assert run([str(path), *options]) == (2 if word == "WRONG" else 3)
    assert time.perf_counter() - started < 10
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert [line[:6] for line in out.splitlines() if not line.startswith(" ")][:1] == [f"{word} "[:6]]
    assert f"{word}  {path}: " in out
    assert max(map(len, out.splitlines())) < 2000
    assert "cannot be checked" not in out
    return out


def with_bytes(path: Path, old: str, new: str) -> bytes:
    text = path.read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("9" * 5000, "holds a whole number of 5000 characters"),
        ("9" * 400, "holds a whole number of 400 characters"),
        ("-" + "9" * 40, "holds a whole number of 41 characters"),
        ("1e999", "it holds 1e999"),
        ("-Infinity", "it holds -Infinity"),
        ("[" * 900 + "]" * 900, "nested deeper than 32 levels"),
        ("[" * 40 + "]" * 40, "nested deeper than 32 levels"),
        ("[" * 10**5, "is no whole JSON file"),
        ("-1.0", "sigma_b: -1.0 is not at least 0"),
    ],
    ids=lambda v: v[:20],
)
def test_numbers_and_nesting(kept: Any, tmp_path: Path, new: str, message: str, capsys: Any) -> None:
    path = kept["error"][0]
    bad = tmp_path / "bad.json"
    bad.write_bytes(with_bytes(path, '"sigma_b": 5.0', f'"sigma_b": {new}'))
    assert message in verdict(bad, capsys)


@pytest.mark.parametrize(
    "encode", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.decode().encode("utf-16"), lambda b: bytes(range(256))]
)
def test_other_encodings(kept: Any, tmp_path: Path, encode: Any, capsys: Any) -> None:
    bad = tmp_path / "bad.json"
    bad.write_bytes(encode(kept["error"][0].read_bytes()))
    assert "cannot be read as text" in (out := verdict(bad, capsys)) or "is no whole JSON file" in out


def test_a_field_named_twice_among_many(tmp_path: Path, capsys: Any) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{" + ",".join(f'"k{i}":1' for i in range(20_000)) + ', "k1":2}')
    assert "names a field twice: k1" in verdict(bad, capsys)


def test_what_is_no_file_and_what_is_too_large(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(["/dev/null"]) == 2  # no file that ends: /dev/zero
    assert "there is no such file" in capsys.readouterr().out
    assert run(["x" * 300]) == 2
    assert "cannot be looked for" in capsys.readouterr().err
    monkeypatch.setattr("invsmooth.records.certificate_files.format.MOST_BYTES", 100)
    (tmp_path / "large.json").write_text(" " * 101)
    assert "too large" in verdict(tmp_path / "large.json", capsys)


RANGES: list[tuple[str, tuple[Any, ...], list[Any]]] = [
    ("error", ("image", "shape"), [[1, 2**62, 2**62], [1, -1, -1], [1, 11], [1, 20_000, 20_000]]),
    ("error", ("operator", "name"), ["os.system"]),
    ("error", ("operator", "ratio"), [1e308, 0, -0.5, 10.1]),
    ("error", ("operator", "block"), [0, -3]),
    ("error", ("sigma_b",), [-1]),
    ("error", ("certificates", 0, "sigma"), [-1.0]),
    ("error", ("certificates", 0, "n_samples"), [0, -5]),
    ("error", ("certificates", 0, "confidence"), [0.0, 1.0, 2.0, -1]),
    ("error", ("certificates", 0, "quantile"), [0.0, 1, 5]),
    ("error", ("certificates", 0, "radii", 1, "eps"), [-1.0]),
    ("anytime", ("certificates", 0, "n_samples"), [0]),
    ("mean", ("certificates", 0, "n_centre"), [1, -3]),
    ("center", ("certificates", 0, "n_pred"), [0, -1]),
    ("center", ("certificates", 0, "share_in_ball"), [1e308, -0.1]),
]


@pytest.mark.parametrize(
    ("kind", "place", "value"), [(k, p, v) for k, p, values in RANGES for v in values], ids=lambda v: str(v)[:40]
)
def test_values_out_of_range_are_named(kept: Any, kind: str, place: tuple[Any, ...], value: Any) -> None:
    """Before anything is computed with them: the only finding."""
    path, record = kept[kind]
    other = copy.deepcopy(record)
    holder = other
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    (line,) = findings(other | {"sha256": checksum(other)}, path)
    name = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in place).lstrip(".")
    assert line.startswith(f"{name}: {value!r} is not ")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("error", {"sigma": 1e308}), ("error", {"sigma": 2**62}), ("error", {"n_samples": 2**62}),
        ("error", {"shared_over": {"images": 2**62}}), ("error", {"shared_over": {"eps": 2**62}}),
        ("error", {"simultaneous": "x"}), ("anytime", {"n_samples": 2**62, "threshold": 1e-9}),
        ("mean", {"radius": "inf"}), ("mean", {"radius": 1e308, "lambda_hat": 1e307, "trace_hat": 1e307}),
        ("mean", {"radius": 5e-324, "lambda_hat": 0.0, "trace_hat": 0.0, "mean_offset": 0.0}),
        ("mean", {"n_samples": 2**62}), ("center", {"n_pred": 2**62}),
    ],
)  # fmt: skip
def test_extreme_numbers(kept: Any, tmp_path: Path, kind: str, changes: Record, capsys: Any) -> None:
    path, record = kept[kind]
    other = copy.deepcopy(record)
    for certificate in other["certificates"]:
        certificate.update(changes)
    bad = tmp_path / "bad.json"
    bad.with_name(record["measurements"]["file"]).write_bytes(path.with_suffix(".npz").read_bytes())
    save(bad, other, seal=True)
    if "n_pred" not in changes:  # which says how many draws there were, and no more
        verdict(bad, capsys)
    verdict(bad, capsys, "--rerun", word="NOT CHECKED" if "n_pred" in changes else "WRONG")


def test_ranks_of_draws_that_are_not_there_are_not_computed(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their search would not end."""
    path, record = kept["error"]
    other = copy.deepcopy(record)
    other["certificates"] = other["certificates"][:1]
    other["certificates"][0]["n_samples"] = 2**62
    monkeypatch.setattr("invsmooth.records.certificate_files.checks.expected", lambda *_: pytest.fail("computed"))
    assert any("number of draws" in line for line in findings(other | {"sha256": checksum(other)}, path))


def with_arrays(path: Path, record: Record, folder: Path, **arrays: np.ndarray) -> Path:
    """A file whose measurements are these, with their hashes and shapes."""
    other = copy.deepcopy(record)
    described = {k: {"sha256": array_sha256(v), "shape": list(v.shape)} for k, v in arrays.items() if k != "x"}
    other["measurements"] = {"file": "m.npz", "arrays": described}
    np.savez(folder / "m.npz", **arrays, allow_pickle=True)
    save(folder / "a.json", other, seal=True)
    return folder / "a.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.astype(np.float64), "has type float64, not float32"),
        (lambda a: a.astype(np.float16), "has type float16, not float32"),
        (lambda a: a.astype(">f4"), "has type >f4, not float32"),
        (lambda a: a.astype(complex), "has type complex128, not float32"),
        (lambda a: a.astype(np.uint16), "has type uint16, not float32"),
        (lambda a: np.array([["a"]]), "has type <U1, not float32"),
        (lambda a: np.array([{}], dtype=object), "has type object, not float32"),
        (lambda a: np.where(a == a.max(), np.nan, a).astype(np.float32), "clean in .* is not finite"),
        (lambda a: np.where(a == a.max(), -np.inf, a).astype(np.float32), "clean in .* is not finite"),
        (lambda a: a[:5].reshape(-1), "does not belong to image.shape"),
        (lambda a: a[:0], "does not belong to image.shape"),
        (lambda a: np.concatenate([a, a], 1), "does not belong to image.shape"),
    ],
)  # fmt: skip
def test_arrays_are_finite_single_precision_of_the_image(kept: Any, tmp_path: Path, change: Any, message: str) -> None:
    path, record = kept["error"]
    arrays = read_arrays(path.with_suffix(".npz"))
    bad = with_arrays(path, record, tmp_path, clean=change(arrays["clean"]), x=arrays["x"])
    lines = findings(read_record(bad), bad)
    with pytest.raises(CertificateFileError, match=message):
        raise CertificateFileError("\n".join(lines))


def npy(shape: str, data: bytes, version: bytes = b"\1\0", size: int = 2) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(size, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clean.npy", npy("(100000, 100000, 100000)", bytes(40)), "is not as long as its shape"),
        ("clean.npy", npy("(1, 1, 1)", bytes(40)), "is not as long as its shape"),
        ("clean.npy", npy("(1, 1, 1)", bytes(4), b"\3\0", 4), "is no array"),
        ("clean.npy", b"text", "cannot be read"),
        ("clean", npy("(1, 1, 1)", bytes(4)), "is no array"),
        ("clean.npy", npy("(1000, 1000)", bytes(4 * 10**6)), "unpacks to more than its own size"),
    ],
)
def test_headers_are_looked_at_before_memory_is_taken(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED if len(content) > 10**6 else 0) as archive:
        archive.writestr(name, content)
    with pytest.raises(CertificateFileError, match=message):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.npz", "a\0.npz", "\ud800.npz", "a.txt", "/dev/zero", "x" * 400 + ".npz"]
)
def test_names_of_the_measurements(kept: Any, tmp_path: Path, name: str, capsys: Any) -> None:
    record = copy.deepcopy(kept["error"][1])
    record["measurements"]["file"] = name
    save(tmp_path / "a.json", record, seal=True)
    assert "measurements.file: " in verdict(tmp_path / "a.json", capsys)


def test_nothing_is_forged_on_the_terminal(kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is shown on one line as Python would write it; so are labels, and the names of files."""
    path, record = kept["error"]
    other = copy.deepcopy(record)
    other["image"]["key"] = "\x1b]0;pwn\x07\x1b[31m[bold red]x[/bold red]\u202e\ud800\nok     other.json: line"
    good = tmp_path / "a\x1b[2J\nok     b.json"
    good.with_name(record["measurements"]["file"]).write_bytes(path.with_suffix(".npz").read_bytes())
    save(good, other, seal=True)
    assert run([str(good)]) == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    (line,) = [x for x in out.splitlines() if x.startswith("ok")]
    assert (
        r"/a\x1b[2J\nok     b.json: \x1b]0;pwn\x07\x1b[31m[bold red]x[/bold red]\u202e\ud800\nok     other.json" in line
    )
    other["label"] = "\x1b[2J"
    save(good, other, seal=True)
    assert run([str(good)]) == 2
    save(good, other | {"\x1b[2J": 1, "a\nok     b.json": 2}, seal=True)
    assert run([str(good)]) == 2
    assert run([str(good) + "\x1b[2J"]) == 2
    captured = capsys.readouterr()
    assert (captured.out + captured.err).replace("\n", "").isprintable()


def test_whatever_goes_wrong_with_one_file_is_a_line(
    kept: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line of defence; the other files are still checked."""
    one, two = kept["error"][0], kept["mean"][0]

    def broken(record: Record, path: Path, trust: object) -> list[str]:
        if path == one:
            raise KeyError("a\x1b[2J")
        return []

    monkeypatch.setattr(checks, "findings", broken)
    assert run([str(one), str(two)]) == 2
    out = capsys.readouterr().out
    assert rf"WRONG  {one}: cannot be checked: KeyError: 'a\x1b[2J'" in out
    assert f"ok     {two}" in out


def test_a_terminal_that_cannot_show_a_letter(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))
    with pytest.raises(SystemExit) as stop:
        verify.main([str(kept["error"][0])])
    assert stop.value.code == 0
    assert rb"a_b_\xe7" in shown.getvalue()


def test_a_module_that_only_a_file_names_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_nearly_constant(tmp_path / "run", 1e-5, "discrepancy")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    source = (
        "import pathlib\npathlib.Path('RAN').touch()\nfrom tests.certificate_files.made import NearlyConstant as Base\n"
    )
    (tmp_path / "beside_file.py").write_text(source + "class Net(Base):\n    pass\n")
    record = read_record(path)
    record["estimator"]["description"]["_target_"] = "beside_file.Net"
    save(path, record, seal=True)
    assert run([str(path)]) == 0
    assert run([str(path), "--trust", "beside_file"]) == 0
    capsys.readouterr()
    said = verdict(path, capsys, "--rerun", word="NOT CHECKED")
    assert "the file alone holds up, but was not drawn again" in said
    assert "--trust beside_file" in said
    assert not (tmp_path / "RAN").exists()
    assert run([str(path), "--rerun", "--trust", "other", "--trust", "beside_file"]) == 0
    assert (tmp_path / "RAN").exists()
    with pytest.raises(SystemExit):
        run([str(path), "--ckpt", "weights.pt"])


@pytest.mark.parametrize(
    "description",
    [
        {"_target_": "os.system", "command": "touch RAN"},
        {"_target_": "torch.nn.Linear", "in_features": -1, "out_features": 1},
        {"_target_": "torch.nn.Linear", "in_features": 10**9, "out_features": 10**9},
        {"_target_": "torch.nn.MultiheadAttention", "embed_dim": 3, "num_heads": 2},
        {"_target_": "torch.nn.Identity"},
        json.loads("[" * 20 + "]" * 20),
    ],
    ids=str,
)
def test_networks_in_files(kept: Any, tmp_path: Path, description: Any, capsys: Any) -> None:
    path, record = kept["error"]
    other = copy.deepcopy(record)
    other["estimator"] |= {"checkpoint": None, "description": description}
    (tmp_path / record["measurements"]["file"]).write_bytes(path.with_suffix(".npz").read_bytes())
    save(tmp_path / "a.json", other, seal=True)
    untrusted = isinstance(description, dict) and description["_target_"] == "os.system"
    out = verdict(tmp_path / "a.json", capsys, "--rerun", word="NOT CHECKED" if untrusted else "WRONG")
    assert "estimator.description: the estimator cannot be made" in out or "estimator.sha256" in out
