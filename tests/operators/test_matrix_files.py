"""Matrices in .npy and .mat files of every version and kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.io import savemat

from invsmooth.operators import BlockGaussian
from invsmooth.operators.inpainting import Inpainting
from invsmooth.operators.matrices import read_matrix

PHI = np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)


def npy(path: Path, value: Any, **options: Any) -> Path:
    np.save(path, value, **options)
    return path


def mat(path: Path, **options: Any) -> Path:
    savemat(path, options.pop("variables", {"phi": PHI}), appendmat=False, **options)
    return path


def test_every_version(tmp_path: Path) -> None:
    paths = [
        npy(tmp_path / "a.npy", PHI), npy(tmp_path / "b.NPY.npy", np.asfortranarray(PHI.astype(">f8"))),
        mat(tmp_path / "a.MAT"), mat(tmp_path / "b.mat", do_compression=True), mat(tmp_path / "c.mat", format="4"),
        mat(tmp_path / "d.mat", variables={"n": 3.0, "name": "phi", "s": {"x": PHI}, "phi": PHI}),
    ]  # fmt: skip
    for version in ((1, 0), (2, 0), (3, 0)):
        with (tmp_path / f"{version[0]}.npy").open("wb") as file:
            np.lib.format.write_array(file, PHI, version=version)
        paths.append(tmp_path / f"{version[0]}.npy")
    for path in paths:
        assert torch.equal(read_matrix(path), torch.from_numpy(PHI)), path
    for kind in (bool, np.int8, np.uint64, np.float16):
        assert torch.equal(read_matrix(npy(tmp_path / "k.npy", np.eye(3, dtype=kind))), torch.eye(3))
    operator = BlockGaussian(0.5, 4, matrix=str(tmp_path / "a.MAT"))
    assert torch.equal(operator.phi.flatten(1), torch.from_numpy(PHI))


def damaged(path: Path, at: int) -> Path:
    path.write_bytes(path.read_bytes()[:at])
    return path


def promising(path: Path) -> Path:
    """A .npy header of 8 TB, and 64 bytes."""
    np.save(path, PHI)
    content = (
        path.read_bytes()
        .replace(b"(8, 16), }        ", b"(1000000, 1000000)", 1)
        .replace(b"1000000) ", b"1000000)}", 1)
    )
    path.write_bytes(content)
    return path


def structured() -> np.ndarray:
    return np.zeros(3, [("a", float), ("b", int)])


def inf(value: float) -> np.ndarray:
    changed = PHI.copy().astype(np.float64)
    changed[2, 3] = value
    return changed


BAD: dict[str, tuple[Any, str]] = {
    "complex.npy": (lambda p: npy(p, PHI * 1j), "is complex"),
    "nan.npy": (lambda p: npy(p, inf(np.nan)), "has 1 numbers that are not finite"),
    "inf.npy": (lambda p: npy(p, inf(np.inf)), "has 1 numbers that are not finite"),
    "large.npy": (lambda p: npy(p, inf(1e300)), "has 1 numbers that are not finite"),
    "zero.npy": (lambda p: npy(p, 0 * PHI), "has no number other than 0"),
    "flat.npy": (lambda p: npy(p, PHI.ravel()), r"holds float32 of shape \(128,\), not a matrix"),
    "text.npy": (lambda p: npy(p, np.array([["a", "b"]])), "not a matrix of numbers"),
    "struct.npy": (lambda p: npy(p, structured()), "holds a structure, not a matrix"),
    "pickle.npy": (lambda p: npy(p, np.array([[{}]]), allow_pickle=True), r"cannot be read as a \.npy file"),
    "empty.npy": (lambda p: p.write_bytes(b""), r"cannot be read as a \.npy file"),
    "cut.npy": (lambda p: damaged(npy(p, PHI), 300), r"cannot be read as a \.npy file"),
    "promise.npy": (promising, r"cannot be read as a \.npy file"),
    "zip.npy": (lambda p: np.savez(p.open("wb"), a=PHI), r"is a \.npz archive"),
    "sparse.mat": (lambda p: mat(p, variables={"a": scipy.sparse.eye_array(4).tocsc()}), r"a sparse matrix \(a\)"),
    "two.mat": (lambda p: mat(p, variables={"a": PHI, "b": PHI}), r"holds 2 matrices \(a, b\)"),
    "none.mat": (lambda p: mat(p, variables={"a": "text"}), "holds 0 matrices"),
    "complex.mat": (lambda p: mat(p, variables={"a": PHI * 1j}), "is complex"),
    "nan.mat": (lambda p: mat(p, variables={"a": inf(np.nan)}), "not finite"),
    "cut.mat": (lambda p: damaged(mat(p), 400), r"cannot be read as a \.mat file"),
    "empty.mat": (lambda p: p.write_bytes(b""), r"cannot be read as a \.mat file"),
    "v73.mat": (lambda p: p.write_bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n" + bytes(99)), "is of MATLAB 7.3"),
    "bomb.mat": (lambda p: mat(p, variables={"a": np.zeros((4200, 4200))}, do_compression=True), "is too small for"),
    "phi.txt": (lambda p: p.write_text("1 2"), r"has to end in \.npy or \.mat"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_message(tmp_path: Path, name: str) -> None:
    make, said = BAD[name]
    path = tmp_path / f"\x1b[31m{name}"  # a name of any kind
    make(path)
    with pytest.raises(ValueError, match=said) as error:
        read_matrix(path)
    assert str(error.value).startswith(f"operator.matrix={tmp_path}/\\x1b[31m{name}: ")
    assert str(error.value).isprintable()


def outcome(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        return "" if read_matrix(path).ndim == 2 else "no matrix"
    except ValueError as error:
        return str(error)


def test_changed_bytes(tmp_path: Path) -> None:
    """A matrix, or ValueError; nothing else."""
    path, draw, said = npy(tmp_path / "a.npy", PHI), np.random.default_rng(0), list[str]()
    whole = path.read_bytes()
    for _ in range(100):
        changed = bytearray(whole)
        for k in draw.integers(0, 120, 2):
            changed[k] ^= int(draw.integers(1, 256))
        said.append(outcome(path, changed))
    assert sum(line.startswith(f"operator.matrix={path}: ") for line in said) > 40
    assert "no matrix" not in said


@pytest.mark.parametrize("values", [{176: 137, 232: 150}, {176: 86, 224: 229}, {177: 51, 197: 100}])
def test_bytes_that_crash_scipy(tmp_path: Path, values: dict[int, int]) -> None:
    """(Version 1.17.) The program goes on."""
    path = mat(tmp_path / "a.mat")
    changed = bytearray(path.read_bytes())
    for at, value in values.items():
        changed[at] = value
    assert outcome(path, changed).startswith(f"operator.matrix={path}: cannot be read as a .mat file: ")


def test_arrays_and_masks(tmp_path: Path) -> None:
    for bad in (PHI * 1j, inf(np.nan), 0 * PHI):
        with pytest.raises(ValueError, match="the matrix "):
            BlockGaussian(0.5, 4, matrix=bad)
    with pytest.raises(ValueError, match=r"operator\.mask=.*cut\.npy: cannot be read"):
        Inpainting(0.5, mask=str(damaged(npy(tmp_path / "cut.npy", PHI), 300)))
