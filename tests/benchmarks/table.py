"""``make bench``: the table of docs/performance.md, and outputs/bench/last.json.

``python -m tests.benchmarks.table [--quick] [--only NAME,…] [--write]``: --write renews the table in docs/performance.md.
What is compared is measured in turn in one run; each value is the median of some rounds. A row that is 10 % worse than in
the run before is named at the end.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from torch import Tensor, nn

from invsmooth.attacks import Search, attack, pgd
from invsmooth.attacks.attack import Precision
from invsmooth.certificates import Discrepancy, Error, Mean, Radius, Smoothing, certify, certify_all
from invsmooth.certificates.draws import PIXELS_PER_CHUNK
from invsmooth.config import parts, schema
from invsmooth.config.schema import OPEN
from invsmooth.core.memory import keep_memory
from invsmooth.estimators import DPDNN, ISTANetPP, MatchedFilter
from invsmooth.estimators.fastest import channels_last, fastest, kernels
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.base import Operator
from invsmooth.records.rows import read_rows
from invsmooth.reporting.artefacts import tables
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.methods import read_runs, with_methods
from tests.benchmarks import paper_protocol, training
from tests.benchmarks import start as start_bench
from tests.benchmarks.timing import medians
from tests.reporting.sweep_made import write_many

ROOT = Path(__file__).parents[2]
LAST, PAGE = ROOT / "outputs" / "bench" / "last.json", ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- the table of make bench -->", "<!-- end of the table -->"
WORSE = 1.1
CHECKS = 3  # passes of every certificate and attack: f(y), and two images to see that each is treated alone
EPS = [0.002 * k for k in range(1, 21)]


@dataclass(frozen=True)
class Row:
    what: str
    value: float  # a ratio, or seconds, or MiB
    unit: str
    asked: str = ""  # what it should be, "<= 1.05"; "" for a fact
    note: str = ""

    @property
    def met(self) -> str:
        if not self.asked:
            return ""
        relation, limit = self.asked.split()
        return "yes" if (self.value <= float(limit) if relation == "<=" else self.value >= float(limit)) else "no"


Case = tuple[str, nn.Module, Operator, int, int, int]


def cases(quick: bool) -> Iterator[Case]:
    """Name, network, operator, side of the image, draws, rounds."""
    torch.manual_seed(0)
    yield "ISTA-Net++ 6×16, 165×165", ISTANetPP(6, 16), BlockGaussian(0.1), 33 if quick else 165, 16, 3
    yield "DPDNN 2×16, 165×165", DPDNN(2, 16), Identity(), 32 if quick else 165, 16, 3
    if not quick:
        yield "ISTA-Net++ 20×32, 264×264", ISTANetPP(), BlockGaussian(0.1), 264, 8, 2
        yield "DPDNN 6×64, 256×256", DPDNN(), Identity(), 256, 8, 2


def paths(quick: bool) -> Iterator[Row]:
    """A draw and a gradient: the paper's way, plain batches in both formats, ours."""
    for case in cases(quick):
        yield from draws_of(*case)
        yield from gradients_of(*case)


def draws_of(name: str, net: nn.Module, operator: Operator, side: int, n: int, rounds: int) -> Iterator[Row]:
    net.eval()
    x = torch.rand(1, 1, side, side)
    y = operator.A(x)
    batch = y.expand(8, *y.shape[1:]).contiguous()

    def plain() -> None:
        with torch.no_grad():
            for _ in range(n // 8):
                net(batch, operator)

    def formatted() -> None:
        with channels_last(kernels(net)):
            plain()

    def coarse() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            formatted()

    found = medians({
        "the paper's way": lambda: paper_protocol.smoothed(net, operator, y, x.shape[1:], 0.1, n),
        "plain batches, contiguous": plain, "plain batches, channels-last": formatted,
        "plain batches, channels-last, bfloat16": coarse,
        "ours": lambda: certify(net, operator, y, sigma=0.1, eps=EPS, n_samples=n),
    }, rounds)  # fmt: skip
    ours = found.pop("ours") * n / (n + CHECKS)
    for label, seconds in found.items():
        note = f"ours {1000 * ours / n:.0f} ms a draw; the {CHECKS} passes of reference and checks are taken out"
        yield Row(f"{name}: {n} draws, {label} / ours", seconds / ours, "×", note=note)


def gradients_of(name: str, net: nn.Module, operator: Operator, side: int, n: int, rounds: int) -> Iterator[Row]:
    net.eval()
    x, steps = torch.rand(1, 1, side, side), 2 if side > 200 else 5

    def own(precision: Precision) -> Callable[[], object]:
        return lambda: pgd(net, operator, x, eps=1.0, n_iter=steps, precision=precision)

    found = medians({
        "the paper's way": lambda: paper_protocol.attack(net, operator, x, 1.0, steps, 0.2),
        "float32": own("fp32"), "bfloat16": own("bf16"), "ours": own("auto"),
    }, rounds)  # fmt: skip
    # The paper's way has no checks and no loss at the end, which is one more pass. A gradient is three.
    found["the paper's way"] *= (3 * steps + CHECKS + 1) / (3 * steps)
    ours = found.pop("ours")
    for label, seconds in found.items():
        note = (
            f"ours {1000 * ours / (steps + (CHECKS + 1) / 3):.0f} ms a gradient; checks and the last loss are taken out"
        )
        yield Row(f"{name}: {steps} gradients of an attack, {label} / ours", seconds / ours, "×", note=note)


def certification(quick: bool) -> Iterator[Row]:
    """Certificates against the bare forward passes, in the format that we take."""
    nets: list[tuple[str, nn.Module, Operator, int, int]] = [
        ("ISTA-Net++ 6×16, 165×165", ISTANetPP(6, 16), BlockGaussian(0.1), 165, 50),
        ("DPDNN 2×16, 165×165", DPDNN(2, 16), Identity(), 165, 50),
        ("ISTA-Net++ 6×16, 66×66", ISTANetPP(6, 16), BlockGaussian(0.1), 66, 1000),
        ("DPDNN 2×16, 64×64", DPDNN(2, 16), Identity(), 64, 1000),
        ("ISTA-Net++ 20×32, 132×132", ISTANetPP(), BlockGaussian(0.1), 132, 50),
        ("DPDNN 6×64, 128×128", DPDNN(), Identity(), 128, 50),
        ("ISTA-Net++ 20×32, 66×66", ISTANetPP(), BlockGaussian(0.1), 66, 1000),
    ]
    for case in nets[:1] if quick else nets:
        yield from certification_of(*case)


def certification_of(name: str, net: nn.Module, operator: Operator, side: int, n: int) -> Iterator[Row]:
    net.eval()
    x = torch.rand(1, 1, side, side)
    y = operator.A(x)
    batch = y.expand(max(1, min(n, PIXELS_PER_CHUNK["cpu"] // side**2)), *y.shape[1:]).contiguous()
    certifiers = Discrepancy(), Error(), Radius(threshold=0.01), Mean(n_centre=n // 5)

    def bare() -> None:
        with torch.no_grad(), fastest(net, operator, y):
            for first in range(0, n, len(batch)):
                net(batch[: n - first], operator)

    def several() -> None:
        certify_all(net, operator, y, certifiers, Smoothing(sigma=0.1, n_samples=n - n // 5), eps=EPS, x=x)

    found = medians({
        "bare": bare, "one": lambda: certify(net, operator, y, sigma=0.1, eps=EPS[0], n_samples=n), "several": several,
    }, 3 if n < 100 else 2, warm_up=n < 100)  # fmt: skip
    said = f"{name}: {{}}, S = {n} / bare passes"
    yield Row(said.format("certify"), found["one"] / found["bare"], "×", "<= 1.05", f"bare {found['bare']:.2f} s")
    many = "discrepancy, error, radius and mean, 20 radii"
    yield Row(said.format(many), found["several"] / found["bare"], "×", "<= 1.10")


def memory(quick: bool) -> Iterator[Row]:
    """Peak memory of a process over S, one 256×256 image and a trivial network."""
    sizes = (50, 250) if quick else (50, 250, 500, 2500, 10_000)
    for certifier in ("discrepancy", "mean"):
        peaks = {}
        for n in sizes:
            command = [sys.executable, "-m", "tests.benchmarks.certify", certifier, str(n)]
            peaks[n] = float(
                subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split()[0]
            )
        shown = ", ".join(f"{n}: {peak:.0f}" for n, peak in peaks.items())
        yield Row(f"`{certifier}`: most memory over S / that at S = 50", max(peaks.values()) / peaks[50], "×", "<= 1.15",
                  f"MiB at S = {shown}")  # fmt: skip


def trainings(quick: bool) -> Iterator[Row]:
    """A batch of each algorithm against one of ord, small networks and presets; and the paper's Algorithm 1."""
    asked = {"jcb": "<= 2.5", "adv": "<= 12", "smt_adv": "<= 12", "smt_grad": ""}
    for task in ("denoise", "cs"):
        counts = {"ord": 20, "jcb": 10, "adv": 6, "smt_adv": 5, "smt_grad": 3}
        found = {}
        for algo, n in counts.items():
            name = algo + ("_small" if "adv" in algo or "grad" in algo else "")
            found[algo] = training.measure(task, name, 2 if quick else n)
        base = found["ord"][0]
        for algo, limit in asked.items():
            seconds, evaluations = found[algo]
            yield Row(f"{task}: a batch of `{algo}` / of `ord`", seconds / base, "×", limit,
                      f"{seconds:.2f} s, {evaluations:g} evaluations; ord {base:.3f} s")  # fmt: skip


def figure_1(quick: bool) -> Iterator[Row]:
    """A panel of Figure 1 (5 checkpoints, 1 eps, 8 sigma, 11 images), from one checkpoint, 2 sigma and one image."""
    side, n_samples, paper_steps = 66, 50, 10 if quick else 150
    torch.manual_seed(0)
    net, operator, x = ISTANetPP(6, 16) if quick else ISTANetPP(), BlockGaussian(0.1), torch.rand(1, 1, side, side)
    net.eval()
    eps, sigmas = 1.0 * side / 256, [0.1, 0.2]
    search = attack_of_default()

    def attacked() -> Tensor:
        return operator.A(x + attack(search, net, operator, x, eps=eps).xi)

    y = attacked()
    found = medians({
        "paper, attack": lambda: paper_protocol.attack(net, operator, x, eps, paper_steps, 0.2 * side / 256),
        "paper, draws": lambda: paper_protocol.smoothed(net, operator, y, x.shape[1:], sigmas[0], n_samples),
        "attack": attacked,
        "draws": lambda: certify(net, operator, y, sigma=sigmas[0], eps=eps, n_samples=n_samples),
    }, 1 if quick else 3, warm_up=False)  # fmt: skip
    n_sigma, gradients = 8, search.cost(eps, (1, 1), 1)[1]
    paper_passes = n_sigma * (3 * paper_steps + n_samples + 1)
    our_passes = 3 * gradients + 1 + n_sigma * (n_samples + 1)
    paper_time = n_sigma * (found["paper, attack"] + found["paper, draws"])
    our_time = found["attack"] + n_sigma * found["draws"]
    note = f"per checkpoint and image; {gradients} gradients once against {paper_steps} at each of {n_sigma} sigma"
    yield Row("a panel of Figure 1: passes of the paper's protocol / ours (a gradient: 3)", paper_passes / our_passes, "×",
              ">= 8", note)  # fmt: skip
    yield Row("the same: time", paper_time / our_time, "×", ">= 8", f"ours {our_time:.1f} s at {side}×{side}")
    once = (3 * paper_steps + n_sigma * (n_samples + 1)) / our_passes
    yield Row("the same, if the paper's attack were made once for all sigma: passes", once, "×")


def start(quick: bool) -> Iterator[Row]:
    """Commands, imports, the first step of the quickstart."""
    limits = {"import invsmooth": 0.3, "import invsmooth.certificates": 0.5, start_bench.FIRST_STEP: 10.0}
    for what, found in start_bench.measure(1 if quick else 5).items():
        yield Row(what, found["seconds"], "s", f"<= {limits.get(what, 1.0):g}")


def scaling(quick: bool) -> Iterator[Row]:
    """The exponent of time over draws, images and rows: 1 is proportional."""
    y, times = torch.rand(1, 1, 64, 64), {}
    for n in (200, 400) if quick else (500, 1000, 2000, 4000):
        certified = lambda n=n: certify(MatchedFilter(), Identity(), y, sigma=0.1, eps=EPS, n_samples=n)  # noqa: E731
        times[n] = medians({"run": certified}, 3)["run"]
    yield Row("exponent of time over draws S (a trivial network)", exponent(times), "", "<= 1.1", shown(times))
    times = {n: seconds_of_images(n) for n in ((2, 4) if quick else (20, 40, 80))}
    what = "exponent of time over images (`evaluate`, a trivial network, the start left out)"
    yield Row(what, exponent(marginal(times)), "", "<= 1.1", shown(times))
    with tempfile.TemporaryDirectory() as folder:
        times = {}
        for n in (5, 10) if quick else (60, 120, 240):
            folders = write_many(Path(folder) / str(n), n)

            def read(folders: Sequence[Path] = folders) -> None:
                rows, declared = read_rows(folders)
                runs = read_runs(rows)
                averages = Averages(with_methods(rows, runs), declared)
                list(tables(averages, runs))

            times[n] = medians({"read": read}, 1, warm_up=False)["read"]
    yield Row(
        "exponent of time over runs (rows, averages and tables of a report)",
        exponent(times),
        "",
        "<= 1.1",
        shown(times),
    )


def exponent(times: dict[int, float]) -> float:
    """Of the power law through the first and the last."""
    (few, short), *_, (many, long) = times.items()
    return math.log(long / short) / math.log(many / few)


def marginal(times: dict[int, float]) -> dict[int, float]:
    """Without the time that none would take, by the line through the first two."""
    (few, short), (more, longer), *_ = times.items()
    start = short - (longer - short) / (more - few) * few
    return {n: seconds - start for n, seconds in times.items()}


def shown(times: dict[int, float]) -> str:
    return "s: " + ", ".join(f"{n}: {seconds:.2f}" for n, seconds in times.items())


def seconds_of_images(n: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for k in range(n):
            pixels = np.random.default_rng(k).integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder) / f"{k}.png")
        command = [
            "-m", "invsmooth.evaluate", "task=denoise", "estimator=identity", "data=folder", f"data.root={folder}",
            "data.crop=null", "cache=null", "report=false", "attack.n_iter=2", "trainer.progress_bar=false",
            f"hydra.run.dir={folder}/run",
        ]  # fmt: skip
        return start_bench.in_process(command, cwd=ROOT, stderr=subprocess.DEVNULL)[0]


def attack_of_default() -> Search:
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return parts.build("attack", compose("train").attack, OPEN["attack"].keys)  # type: ignore[no-any-return]


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "paths": paths, "certification": certification, "memory": memory, "training": trainings, "figure-1": figure_1,
    "start": start, "scale": scaling,
}  # fmt: skip


def machine() -> str:
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())  # fmt: skip
    return f"{cpu}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def markdown(rows: list[Row], about: str, before: str = "") -> str:
    """``before``: the table that this one replaces. Its other rows stay if they are of this machine and day."""
    head = [
        f"`make bench`, {date.today()}: {about}.",
        "",
        "| | value | asked | met | |",
        "| --- | --- | --- | --- | --- |",
    ]
    old = before.strip().splitlines()
    kept = {line.split(" | ")[0]: line for line in old[4:]} if old[:1] == head[:1] else {}
    new = {f"| {r.what}": f"| {r.what} | {r.value:.3g} {r.unit} | {r.asked} | {r.met} | {r.note} |" for r in rows}
    return "\n".join([*head, *(kept | new).values()])


def regressions(rows: list[Row], before: dict[str, float]) -> Iterator[str]:
    for row in rows:
        if not row.asked or row.what not in before:
            continue
        old, new = before[row.what], row.value
        if (new > WORSE * old) if row.asked.startswith("<=") else (WORSE * new < old):
            yield f"warning: {row.what}: {new:.3g} {row.unit}, before {old:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    options = parser.parse_args()
    keep_memory()
    schema.register()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    before = json.loads(LAST.read_text())["rows"] if LAST.is_file() else []
    rows: list[Row] = []
    for name in options.only.split(","):
        for row in PARTS[name](options.quick):
            print(
                f"{row.what}: {row.value:.3g} {row.unit} {row.asked and f'(asked {row.asked}: {row.met})'} {row.note}",
                flush=True,
            )
            rows.append(row)
            if not options.quick:
                LAST.parent.mkdir(parents=True, exist_ok=True)
                kept = [r for r in before if r["what"] not in {row.what for row in rows}]
                LAST.write_text(json.dumps({"machine": machine(), "rows": [*kept, *map(asdict, rows)]}, indent=1))
    for line in regressions(rows, {r["what"]: r["value"] for r in before}):
        print(line)
    if options.write:
        page = PAGE.read_text()
        old = page[page.index(BEGIN) + len(BEGIN) : page.index(END)]
        PAGE.write_text(page.replace(old, f"\n{markdown(rows, machine(), old)}\n"))


if __name__ == "__main__":
    main()
