"""docs/study.md and its tables follow from the committed rows."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.study import paper, report
from tests.study.rows import STUDY, read

DOCS = Path(__file__).parents[2] / "docs"
PAPERS = {"28.49", "25.18", "23.40", "0.76", "1.23"}  # best values of the paper's table 1(a); gains of 1(b)
TABLES = (DOCS / "study" / "tables.md").read_text(encoding="utf-8")


def lines_of(section: str) -> list[dict[str, str]]:
    """A table, a dict for each line; of two columns with the same name the second has a 2."""
    text = TABLES.split(f"## {section}\n")[1].split("\n## ")[0]
    header, _, *body = (re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("|"))
    names = [name if name not in header[:k] else f"{name} 2" for k, name in enumerate(header)]
    return [dict(zip(names, line, strict=False)) for line in body]


def means(task: str, network: str, setting: float, eps: float, of: str = "") -> pd.DataFrame:
    """By hand, without the code of the tables: attacked and smoothed PSNR for each sigma, each image counted once. Of the
    training seeds that the network ``of`` has, too."""
    found = []
    for run in STUDY.glob(f"rows/test/{task}_{network}_seed*"):
        if not run.with_name(run.name.replace(f"_{network}_", f"_{of or network}_")).is_dir():
            continue
        side = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]["crop"]
        rows = pd.read_parquet(run / "results.parquet")
        column = rows["sigma_b"] if task == "denoise" else rows["ratio"]
        found.append(rows[(column == setting) & ((rows["eps"] * 256 / side).round(2) == eps)])
    images = pd.concat(found).groupby(["sigma", "image"])[["psnr_attacked", "psnr_median"]].mean()
    return images.groupby("sigma").mean()


@pytest.mark.parametrize("line", random.Random(0).sample(lines_of("Attacked and smoothed"), 10), ids=str)
def test_ten_lines_of_the_table(line: dict[str, str]) -> None:
    by_sigma = means(line["task"], line["network"], float(line["σ_b, m/n"]), float(line["ε"]))
    attacked = by_sigma["psnr_attacked"].iloc[0]
    assert line["attacked"] == f"{attacked:.2f}"
    if line["network"] != "ord":
        ord_ = means(line["task"], "ord", float(line["σ_b, m/n"]), float(line["ε"]), line["network"])
        expected = attacked - ord_["psnr_attacked"].iloc[0]
        assert float(line["− ord"].split()[0]) == pytest.approx(expected, abs=0.006)
    for column in ("smoothed (σ)", "at the best σ"):
        shown, sigma = re.fullmatch(r"(\S+) \((\S+)\)", line[column]).groups()  # type: ignore[union-attr]
        assert shown == f"{attacked if sigma == '0' else by_sigma['psnr_median'][float(sigma)]:.2f}"
    assert float(line["at the best σ"].split()[0]) == pytest.approx(
        max(attacked, by_sigma["psnr_median"].max()), abs=0.006
    )


def test_the_tables_are_those_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "OUT", tmp_path)
    for module in (report, paper):
        monkeypatch.setattr(module, "draw", lambda *_: [])
    report.main()
    for page in ("tables.md", "paper.md"):
        assert (tmp_path / page).read_text(encoding="utf-8") == (DOCS / "study" / page).read_text(encoding="utf-8")


def test_the_papers_tables_by_hand() -> None:
    """Table 1 by the report tool: ord, attacked, at σ_b = 2 and 256×256's ε = 5."""
    page = (DOCS / "study" / "paper.md").read_text(encoding="utf-8")
    line = next(line for line in page.split("**(a) denoise")[1].splitlines() if line.startswith("| ord |"))
    clean, attacked = line.split("|")[2:4]
    assert attacked.strip() == f"{means('denoise', 'ord', 2, 5)['psnr_attacked'].iloc[0]:.2f}"
    assert clean.strip() == f"{means('denoise', 'ord', 2, 0)['psnr_attacked'].iloc[0]:.2f}"


def test_every_number_of_the_page_is_in_the_tables() -> None:
    text = (DOCS / "study.md").read_text(encoding="utf-8").split("## Results")[1].split("## Limits")[0]
    known = TABLES + (DOCS / "study" / "paper.md").read_text(encoding="utf-8")
    assert {n for n in re.findall(r"\d+\.\d\d\b", text) if n not in known} <= PAPERS
    assert TABLES.split("## Claims\n\n")[1].split("\n\n")[1] in text


def test_each_network_has_its_weights_and_each_row_its_network() -> None:
    kept = {
        pd.read_parquet(f, columns=["estimator_sha256"])["estimator_sha256"][0] for f in STUDY.glob("*/results.parquet")
    }
    assert set(read("test")["estimator_sha256"]) <= kept
    assert sum(f.stat().st_size for f in STUDY.rglob("*") if f.is_file()) < 30_000_000


def test_the_published_network_by_hand() -> None:
    lines = lines_of("The published network")
    assert len(lines) == 8
    for line in lines[1:]:
        base = pd.read_parquet(STUDY / f"rows/published/cs_published_{line['ε']}/results.parquet")
        own = STUDY / f"rows/published/cs_published_smoothed_{line['ε']}/results.parquet"
        rows = pd.read_parquet(own) if line[""] == "smoothed, attacked as such" else base
        assert len(rows) == 11
        column = "psnr_attacked" if line[""] == "attacked" else "psnr_median"
        assert line["ours"] == f"{rows[column].mean():.2f}"
        if line[""] != "attacked":
            gain = rows["psnr_median"].mean() - base["psnr_attacked"].mean()
            assert line["smoothed − attacked"].startswith(f"{gain:+.2f} [")


@pytest.mark.parametrize(
    ("task", "setting", "eps", "run"), [("cs", 0.1, 7, "null_space"), ("denoise", 10, 5, "lipnet_10")]
)
def test_a_proven_network_against_ord_by_hand(task: str, setting: float, eps: float, run: str) -> None:
    wanted = {"task": task, "σ_b, m/n": f"{setting:g}", "ε": f"{eps:g}", "network": run.removesuffix("_10")}
    line = next(line for line in lines_of("Proven against ord") if wanted.items() <= line.items())
    rows = pd.read_parquet(STUDY / f"rows/proven/{task}_{run}/results.parquet")
    side = {"cs": 66, "denoise": 64}[task]
    own = rows[(rows["ratio" if task == "cs" else "sigma_b"] == setting) & ((rows["eps"] * 256 / side).round(2) == eps)]
    ord_ = means(task, "ord", setting, eps)["psnr_attacked"].iloc[0]
    assert line["attacked"] == f"{own['psnr_attacked'].mean():.2f}"
    assert float(line["− ord"].split()[0]) == pytest.approx(own["psnr_attacked"].mean() - ord_, abs=0.006)
