"""The weights in docs/models: their cards, their constants, and the table that they reproduce."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from invsmooth import BlockGaussian, Identity, certify, load_checkpoint
from invsmooth.data import read_image
from invsmooth.data.decode import centre_crop
from invsmooth.operators import Operator
from invsmooth.operators.measurement import Setting, measure

FOLDER = Path(__file__).parents[1] / "docs" / "models"
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
FILES = sorted(FOLDER.glob("*.ckpt"))
EPS = [1.0, 3.0, 5.0, 7.0, 10.0, 15.0]
LINES = {
    line.split("`")[1]: [cell.strip() for cell in line.split("|")[2:-1]]
    for line in PAGE.splitlines()
    if line[:3] == "| `"
}
"""Of the table: sigma_b or m/n, L, PSNR clean and certified at EPS."""


def operator(name: str, ratio: str, matrix: Path | None = None) -> Operator:
    return Identity() if name.startswith("denoise") else BlockGaussian(float(ratio), 33, matrix=matrix)


def test_the_files_are_small_and_each_has_a_card_and_lines_in_the_table() -> None:
    assert FILES
    assert sum(f.stat().st_size for f in FILES) < 2_000_000
    names = {f.stem for f in FILES}
    assert set(re.findall(r"^## `(.*)`$", PAGE, re.MULTILINE)) == names
    assert {line.split(",")[0] for line in LINES} == names


@pytest.mark.parametrize("line", LINES)
def test_the_constant_is_that_of_the_table(line: str) -> None:
    name = line.split(",")[0]
    found = load_checkpoint(FOLDER / f"{name}.ckpt").double().lipschitz(operator(name, LINES[line][0]))
    assert LINES[line][1] == f"{found:.2f}"


@pytest.mark.slow
@pytest.mark.parametrize("line", ["denoise15_L1.15", "cs10_eps1, 256×256"])
def test_the_table_is_reproduced(line: str, shared_data: Path) -> None:
    """All images of the line."""
    name, denoises = line.split(",")[0], line.startswith("denoise")
    files = sorted((shared_data / "bsd68").glob("*.png")) if denoises else sorted((shared_data / "set11").glob("*.tif"))
    matrix = None if denoises else shared_data / "matrices" / "phi_0_10_1089.mat"
    net, sigma_b = load_checkpoint(FOLDER / f"{name}.ckpt"), float(LINES[line][0]) / 255 if denoises else 0.0
    setting = Setting(operator(name, LINES[line][0], matrix), 1.0 if denoises else 0.1, sigma_b)
    found = []
    for file in files:
        x = read_image(file)[None]
        if denoises:
            x = centre_crop(x, 256)
        elif x.shape[-1] > 256:  # the two larger ones are not in this line
            continue
        y = measure(setting, [file.name], x).y
        certificate = certify(net, setting.operator, y, certifier="lipschitz", eps=[0.0, *EPS], x=x)
        found.append(-10 * certificate.certified_error[0].log10())
    assert [float(v) for v in LINES[line][2:]] == pytest.approx(torch.stack(found).mean(0).tolist(), abs=0.006)
