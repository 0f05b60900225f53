"""``python -m tests.benchmarks.attack_strength --net FILE --images FOLDER --out FILE.json``: how strong a search is.

The PSNR that each search leaves of whole images, against the paper's constant steps and against 20 cosine steps: the median
of the differences, and each. Negative is stronger. ``--eps 1,5,7``: radii on 256×256. ``--ratio 0.1 [--matrix FILE]``:
compressed sensing, with the paper's 150 steps of 0.2; ``--denoise SIGMA_B``: denoising, with 100 steps of 0.4. Images larger
than ``--crop`` (256) are cropped, and radius and step scaled by crop / 256. ``--limit N``: the first N images.
``--only TEXT;TEXT``: searches with such a name. ``--device cuda|cpu``. ``--precision fp32|bf16``: of the gradients; left
out, some searches run with both. Losses are always computed in fp32, without TF32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from invsmooth.attacks import APGD, PGD, Objective, ReconstructionError
from invsmooth.attacks.ball import steepest
from invsmooth.attacks.search import Ascent
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import standard_normal
from invsmooth.data import image_files, read_image
from invsmooth.data.decode import centre_crop
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.frozen import frozen
from invsmooth.operators import BlockGaussian, Identity

PAPER, TODAY = "paper", "cosine 2 eps, 20"


@dataclass(frozen=True)
class Candidate:
    search: Ascent
    start: str = "zero"  # or residual: eps along f(y) - x, which costs a forward pass
    bf16: bool = False  # also with gradients under autocast


class Autocast:
    """An objective whose gradients are taken under bf16 autocast."""

    def __init__(self, objective: Objective, device: str) -> None:
        self.objective, self.device = objective, device

    def value(self, xi: Tensor) -> Tensor:
        return self.objective.value(xi)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device, torch.bfloat16):
            return self.objective.value_and_gradient(xi)


def candidates(eps: float, paper_steps: int, paper_step: float) -> dict[str, Candidate]:
    def cosine(n_iter: int, first: float = 2.0, history: int = 0) -> PGD:
        return PGD(n_iter=n_iter, schedule="cosine", step_size=first * eps, history=history)

    found = {
        PAPER: Candidate(PGD(n_iter=paper_steps, step_size=paper_step, keep="last")),
        TODAY: Candidate(cosine(20), bf16=True),
        "cosine 3 eps, 20": Candidate(cosine(20, 3.0)),
        "apgd, 20": Candidate(APGD(n_iter=20)),
    }
    for n in (5, 8, 10):
        found[f"cosine 2 eps, {n}"] = Candidate(cosine(n))
        found[f"history 4, {n}"] = Candidate(cosine(n, 8.0, 4), bf16=True)
        found[f"history 4, residual start, {n}"] = Candidate(cosine(n, 8.0, 4), "residual")
    for first, history in ((2.0, 4), (4.0, 4), (16.0, 4), (8.0, 3), (8.0, 6)):
        found[f"history {history}, {first:g} eps, 10"] = Candidate(cosine(10, first, history))
    for n in (12, 15, 20):
        found[f"history 4, {n}"] = Candidate(cosine(n, 8.0, 4), bf16=n == 20)
    found["cosine 3 eps, 10"] = Candidate(cosine(10, 3.0))
    found["apgd, 10"] = Candidate(APGD(n_iter=10))
    return found


@dataclass
class Row:
    search: str
    precision: str
    gradients: int
    seconds: float
    psnr: list[float]  # of each image, as the rest
    minus_paper: list[float] = field(default_factory=list)
    minus_today: list[float] = field(default_factory=list)


def strengths(objective: ReconstructionError, eps: float, arguments: argparse.Namespace) -> Iterator[Row]:
    paper = (150, 0.2) if arguments.denoise is None else (100, 0.4)
    with torch.no_grad():
        residual = objective.estimator(clean(objective), objective.operator) - objective.x
    for name, candidate in candidates(eps, paper[0], paper[1] * objective.x.shape[-1] / 256).items():
        # The two that all are compared with run in fp32 always.
        if arguments.only and name not in (PAPER, TODAY) and not any(o in name for o in arguments.only.split(";")):
            continue
        wanted = {arguments.precision or "fp32"} | ({"fp32"} if name in (PAPER, TODAY) else set())
        if candidate.bf16 and arguments.precision is None:
            wanted.add("bf16")
        for precision in sorted(wanted - ({"bf16"} if name == PAPER else set()), reverse=True):
            attacked = objective if precision == "fp32" else Autocast(objective, arguments.device)
            start = eps * steepest(residual) if candidate.start == "residual" else None
            started = time.perf_counter()
            found = candidate.search.search(attacked, objective.x, eps=eps, start=start)
            with torch.no_grad():
                psnr = (-10 * objective.value(found.xi).log10()).tolist()
            yield Row(name, precision, candidate.search.n_iter, time.perf_counter() - started, psnr)


def clean(objective: ReconstructionError) -> Tensor:
    y = objective.operator.A(objective.x)
    return y if objective.b is None else y + objective.b


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--net", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--eps", default="1,5,7")
    parser.add_argument("--ratio", type=float, default=0.1)
    parser.add_argument("--matrix")
    parser.add_argument("--denoise", type=float, help="standard deviation of b, grey levels")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--precision", choices=["fp32", "bf16"])
    parser.add_argument("--only", help="searches whose name has one of these, separated by ;")
    return parser.parse_args(arguments)


def main(given: list[str] | None = None) -> None:
    arguments = parse(given)
    keep_memory()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    net = load_checkpoint(arguments.net).to(arguments.device)
    gaussian = BlockGaussian(arguments.ratio, matrix=arguments.matrix)
    operator = (gaussian if arguments.denoise is None else Identity()).to(arguments.device)
    names = list(image_files(arguments.images).items())[: arguments.limit]
    x = torch.stack([centre_crop(read_image(file.path), arguments.crop) for _, file in names]).to(arguments.device)
    b = None
    if arguments.denoise is not None:
        b = (
            arguments.denoise
            / 255
            * torch.stack([standard_normal(x.shape[1:], 0, "b", name) for name, _ in names]).to(x)
        )
    objective, rows = ReconstructionError(net, operator, x, b), []
    for eps in map(float, arguments.eps.split(",")):
        print(f"\neps = {eps:g} on 256×256, {len(x)} images of {tuple(x.shape[2:])}, {arguments.device}")
        print("| search, gradients | precision | PSNR | - paper | - 20 cosine | seconds |\n" + "| --- " * 6 + "|")
        known: dict[str, list[float]] = {}
        with frozen(net):
            for row in strengths(objective, eps * x.shape[-1] / 256, arguments):
                if row.precision == "fp32":
                    known[row.search] = row.psnr
                row.minus_paper = [p - q for p, q in zip(row.psnr, known[PAPER], strict=True)]
                row.minus_today = [p - q for p, q in zip(row.psnr, known.get(TODAY, row.psnr), strict=True)]
                psnr, paper, today = map(statistics.median, (row.psnr, row.minus_paper, row.minus_today))
                cells = [
                    row.search,
                    row.precision,
                    f"{psnr:.3f}",
                    f"{paper:+.3f}",
                    f"{today:+.3f}",
                    f"{row.seconds:.1f}",
                ]
                each = " ".join(f"{d:+.2f}" for d in row.minus_today)
                print("| " + " | ".join(cells) + f" |\n    each - 20 cosine: {each}", flush=True)
                rows.append({"eps": eps} | asdict(row))
                written = {"arguments": vars(arguments), "images": [name for name, _ in names], "rows": rows}
                Path(arguments.out).write_text(json.dumps(written, indent=1))


if __name__ == "__main__":
    main()
