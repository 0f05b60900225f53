"""docs/study/paper.md: the tables and the figure of the paper, by the report tool, from the rows of the study."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from invsmooth.core.files import write_text
from invsmooth.reporting.artefacts import figures
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.damage import sound_runs
from invsmooth.reporting.saving import draw
from invsmooth.reporting.tables.costs import seconds_table, trainings
from invsmooth.reporting.tables.paper import median_table, samples_table, tradeoff_table
from invsmooth.reporting.tables.writers import markdown
from tests.study.rows import STUDY

TASKS = {"denoise": "Denoising", "cs": "Compressed sensing"}
SIGMA = {"smt_adv": 10.0, "smt_grad": 10.0, "smt_grad25": 25.0}  # of the training
HEAD = """# The study in the paper's tables

Made by `make study-report`, as `python -m invsmooth.report` makes them of any runs. An ε is that of
the crop here (64×64 or 66×66 pixels), not of 256×256. The certificates are the published ones,
which hold for no attack ‖ξ‖₂ ≤ ε. In denoising they are means over three training seeds; seed 0 was
attacked with `attack.precision=auto`, the others in float32. What they say: [study](../study.md).
"""


def averages(pattern: str) -> tuple[Averages, dict]:
    folders = [f for f in sorted(STUDY.glob(pattern)) if (f / "results.parquet").is_file()]
    rows, declared, runs, damaged = sound_runs(folders)
    assert not damaged, damaged
    names = [network(Path(folder).name) for folder in rows["folder"]]
    sigmas = [SIGMA.get(name, float("nan")) for name in names]
    return Averages(rows.assign(method=names, sigma_tr=sigmas, protocol=""), declared), runs


def network(run: str) -> str:
    """``smt_grad`` of ``cs_smt_grad_seed1``. A report names it by what differs in its training, the seeds' starts too."""
    return re.sub(r"_seed\d+$|_\d+$", "", run.partition("_")[2])


def parts(task: str, tested: Averages) -> Iterator[str]:
    trained, runs = averages(f"{task}_*")
    curves = trainings(trained.rows, runs)
    for table in (
        tradeoff_table(tested),
        median_table(tested),
        seconds_table(curves, set(trained.table["algo"]), trained.declared),
        samples_table(averages(f"rows/draws/{task}_*")[0]),
    ):
        yield "##" + "\n".join(map(wrapped, markdown(table).rstrip("\n").splitlines()))


def wrapped(line: str) -> str:
    """A line of prose, as long as the documentation's; none about files that are not kept here."""
    if line.startswith("Rows of each number"):
        return "Rows: `outputs/study`."
    return line if line.startswith(("#", "|")) else textwrap.fill(line, 100, break_long_words=False)


def write_paper(out: Path) -> None:
    """``paper.md``, and its figures."""
    text = [HEAD.rstrip("\n")]
    for task, title in TASKS.items():
        tested, _ = averages(f"rows/test/{task}_*")
        name, make = next(figures(tested))
        assert name == "figure1"
        for path in draw(make, out / f"figure1_{task}"):
            if path.suffix == ".pdf":
                path.unlink()
        figure = f"![Figure 1: discrepancy and PSNR over σ, a curve for each network](figure1_{task}.png)"
        text += [f"## {title}", *parts(task, tested), figure, f"*Figure 1, {title.lower()}.*"]
    write_text(out / "paper.md", "\n\n".join(text) + "\n")
