"""The table of networks: its numbers, its order, and the rows that it refuses; docs/robustness.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from invsmooth.core.errors import ConfigError
from invsmooth.records.rows import write_rows
from invsmooth.reporting.robustness import write_robustness
from tests.reporting.lipschitz_rows import DECLARED, plain, smoothed

ROOT = Path(__file__).parents[2]
PROTOCOL: dict[str, Any] = {
    "attack": {"name": "pgd", "n_iter": 20, "chunk_size": None}, "data": {"crop": 99, "limit": 2}, "seed": 0,
    "certify": {"sigma": [12], "certifiers": ["error", "lipschitz"], "pictures": 0}, "ckpt": "docs/models/net.ckpt",
}  # fmt: skip


def network(folder: Path, *rows: dict[str, Any], parameters: int | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    own = [row | {"run_id": str(folder)} for row in rows]
    write_rows(folder / "results.parquet", own, DECLARED)
    (folder / "config.yaml").write_text(yaml.safe_dump(PROTOCOL | config), encoding="utf-8")
    if parameters is not None:
        (folder / "run.json").write_text(json.dumps({"parameters": parameters}), encoding="utf-8")
    return folder


def rows(lipschitz: dict[float, float], error: dict[float, float | None], **values: Any) -> list[dict[str, Any]]:
    """Of two images, whose PSNR is half a decibel below and above what is given."""
    own = {"psnr_clean": 30.0, "psnr_attacked": 27.0, "attack_zero_gradient": False, **values}
    found = []
    for image, by in (("one", -0.5), ("two", 0.5)):
        found += [plain(eps, psnr + by, image=image, **own) for eps, psnr in lipschitz.items()]
        found += [smoothed(e, 12.0, None if p is None else p + by, image=image, **own) for e, p in error.items()]
    return found


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    """One with a constant, one that is smoothed, and one with both."""
    runs = tmp_path / "runs"
    return [
        network(runs / "proven", *rows({0.1: 28.0, 1.0: 26.0}, {}), parameters=12345),
        network(runs / "smooth", *rows({}, {0.1: 28.5, 1.0: None}, algo="ord"), ckpt=None),
        network(runs / "both", *rows({0.1: 27.0, 1.0: 26.5}, {0.1: 27.5, 1.0: None}), parameters=7),
    ]


def cells(text: str) -> dict[str, list[str]]:
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines[2:] if line[0] not in ("network", "---")}


def test_numbers_order_and_certifiers(networks: list[Path], tmp_path: Path) -> None:
    md, tex, csv = write_robustness(networks, tmp_path, 1.0)
    found = cells(md.read_text(encoding="utf-8"))
    assert list(found) == ["both", "proven", "smooth"]  # 26.5, 26, none
    assert found["proven"] == ["12,345", "ord", "30.00", "27.00", "28.00", "27.00", "26.00", "lipschitz", "2", "–"]
    assert found["smooth"][:2] == ["–", "–"]
    assert found["smooth"][4:] == ["28.50", "27.00", "none", "error, σ = 12", "2", "–"]
    assert found["both"][4:8] == ["27.50", "27.00", "26.50", "error, σ = 12 (ε = 0.1); lipschitz (ε = 1)"]
    assert list(cells(write_robustness(networks, tmp_path, 0.1)[0].read_text(encoding="utf-8"))) == [
        "smooth", "proven", "both",
    ]  # fmt: skip
    lines = pd.read_csv(csv)
    certified = lines[lines["column"] == "ε = 1 certified"].set_index("method")["value"]
    assert certified.dropna().to_dict() == {"both": 26.5, "proven": 26.0}
    assert "26.50" in tex.read_text(encoding="utf-8")


def test_a_certificate_that_an_image_lacks_does_not_count(tmp_path: Path) -> None:
    every = rows({}, {0.1: 28.0})
    lacking = network(tmp_path / "net", every[0], smoothed(0.1, 12.0, None, image="two", psnr_clean=30.0))
    found = cells(write_robustness([lacking], tmp_path, 0.1)[0].read_text(encoding="utf-8"))
    assert found["net"][4] == "none"


def test_a_weak_attack_is_marked(tmp_path: Path) -> None:
    runs = [
        network(tmp_path / "blind", *rows({1.0: 26.0}, {}, attack_zero_gradient=True)),
        network(tmp_path / "straight", *rows({1.0: 25.0}, {}), estimator={"gradient": "identity"}),
    ]
    found = cells(write_robustness(runs, tmp_path, 1.0)[0].read_text(encoding="utf-8"))
    assert [line[3] for line in found.values()] == ["27.00 (weak)"] * 2


def test_model_cards_are_found(networks: list[Path], tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    (cards / "deep").mkdir(parents=True)
    (cards / "deep" / "proven.md").write_text("# a card of its own", encoding="utf-8")
    (cards / "list.md").write_text("# `smooth.1`\n\n## `smooth`\n\n`both`\n", encoding="utf-8")
    found = cells(write_robustness(networks, tmp_path, 1.0, cards)[0].read_text(encoding="utf-8"))
    assert [found[n][-1] for n in ("proven", "smooth", "both")] == [
        "[card](deep/proven.md)",
        "[card](list.md#smooth)",
        "–",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": {"name": "pgd", "n_iter": 10}}, r"differ in attack.n_iter: 10 in other; 20 in .*; evaluate all"),
        ({"data": {"crop": 256}}, "differ in data.crop"),
        ({"seed": 1}, "differ in seed"),
    ],
)
def test_rows_of_another_protocol_are_refused(networks: list[Path], tmp_path: Path, change, message: str) -> None:
    other = network(tmp_path / "other", *rows({0.1: 28.0, 1.0: 26.0}, {}), **change)
    with pytest.raises(ConfigError, match=message):
        write_robustness([*networks, other], tmp_path, 1.0)


def test_settings_that_change_no_number_may_differ(networks: list[Path], tmp_path: Path) -> None:
    other = {"attack": PROTOCOL["attack"] | {"chunk_size": 2}, "certify": PROTOCOL["certify"] | {"pictures": 2}}
    same = network(tmp_path / "other", *rows({0.1: 28.0, 1.0: 26.0}, {}), **other)
    assert len(write_robustness([*networks, same], tmp_path, 1.0)) == 3


def test_what_cannot_be_compared_is_refused(networks: list[Path], tmp_path: Path) -> None:
    few = network(tmp_path / "few", plain(1.0, 26.0, image="one"))
    with pytest.raises(ConfigError, match="few has 1 images and proven 2, 1 in common"):
        write_robustness([networks[0], few], tmp_path, 1.0)
    with pytest.raises(ConfigError, match=r"no run has eps=2, .* these have 0\.1, 1"):
        write_robustness(networks, tmp_path, 2.0)
    again = network(tmp_path / "again" / "proven", *rows({1.0: 26.0}, {}))
    with pytest.raises(ConfigError, match="both called proven"):
        write_robustness([*networks, again], tmp_path, 1.0)
    (again / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no config\.yaml"):
        write_robustness([again], tmp_path, 1.0)


def test_the_page_has_the_table_of_the_rows_beside_it(tmp_path: Path) -> None:
    folders = sorted(p.parent for p in (ROOT / "docs" / "models" / "rows").glob("*/results.parquet"))
    assert len(folders) > 10
    made = write_robustness(folders, tmp_path, 1.0, ROOT / "docs")[0].read_text(encoding="utf-8")
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    tables = made[made.index("**(a)") :].strip()
    assert tables in page
    assert cells(made).keys() == {f.name for f in folders}
    assert all("[card](" in line[-1] for line in cells(made).values())


@pytest.mark.parametrize("name", ["wavelet", "wiener", "identity"])
def test_lines_of_the_page_are_reproduced(name: str, shared_data: Path) -> None:
    """PSNR without attack, and certified at ε = 1 and 10, from the images."""
    import torch

    from invsmooth import Identity, certify
    from invsmooth.data import read_image
    from invsmooth.data.decode import centre_crop
    from invsmooth.estimators import IdentityEstimator, WaveletShrinkage, Wiener
    from invsmooth.metrics import psnr
    from invsmooth.operators.measurement import Setting, measure

    estimator = {"wavelet": WaveletShrinkage(), "wiener": Wiener(), "identity": IdentityEstimator()}[name]
    setting = Setting(Identity(), 1.0, 15 / 255)
    clean, certified = [], []
    for file in sorted((shared_data / "set11").glob("*.tif"))[:4]:
        x = centre_crop(read_image(file)[None], 99)
        y = measure(setting, [file.name], x).y
        clean.append(float(psnr(estimator(y, setting.operator), x)))
        found = certify(estimator, setting.operator, y, certifier="lipschitz", eps=[1.0, 10.0], x=x)
        certified.append(-10 * found.certified_error[0].log10())
    line = cells((ROOT / "docs" / "robustness.md").read_text(encoding="utf-8"))[name]
    assert float(line[2]) == pytest.approx(sum(clean) / 4, abs=0.006)
    expected = torch.stack(certified).mean(0).tolist()
    assert [float(line[6]), float(line[10])] == pytest.approx(expected, abs=0.006)
