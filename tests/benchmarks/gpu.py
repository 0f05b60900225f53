"""``make gpu``: what takes how long on a GPU. ``python -m tests.benchmarks.gpu [--device cuda|cpu] [--quick] [--out FILE]``.

Medians of alternating rounds; the device is waited for before and after each. Networks have random weights. Every row is
printed and written to FILE (JSON) when it is there, so that a time limit loses only what was not measured yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.certificates import Discrepancy, Smoothing, certify_all
from invsmooth.certificates.draws import PIXELS_PER_CHUNK
from invsmooth.core import philox
from invsmooth.core.devices import set_tf32
from invsmooth.core.rng import box_muller, smoothing_noise, words_for
from invsmooth.estimators import DPDNN, ISTANetPP
from invsmooth.operators import BlockGaussian, Identity, LinearOperator

Run = Callable[[], object]
ALGORITHMS = ("ord", "jcb", "adv", "smt_adv", "smt_grad")
GRADIENTS = 5  # of the attacks in training: the paper's 100 or 150 take as many times longer
SECONDS = 230.0
SIGMA = 0.1


@dataclass(frozen=True)
class Case:
    """A network at an image size."""

    name: str
    build: Callable[[], nn.Module]
    operator: Callable[[], LinearOperator]
    side: int
    batches: tuple[int, ...]
    n_draws: int


PUBLISHED = (
    Case("ISTA-Net++ 20×32, 264×264", lambda: ISTANetPP(20, 32), lambda: BlockGaussian(0.1), 264, (1, 8, 32), 256),
    Case("DPDNN 6×64, 256×256", lambda: DPDNN(6, 64, eta=0.8), Identity, 256, (1, 8, 32), 256),
)
SMALL = (
    Case("ISTA-Net++ 6×16, 165×165", lambda: ISTANetPP(6, 16), lambda: BlockGaussian(0.1), 165, (1, 8, 32), 1000),
    Case("DPDNN 2×16, 165×165", lambda: DPDNN(2, 16, eta=0.8), Identity, 165, (1, 8, 32), 1000),
)
QUICK = (
    Case("ISTA-Net++ 2×4, 33×33", lambda: ISTANetPP(2, 4), lambda: BlockGaussian(0.1), 33, (1, 2), 40),
    Case("DPDNN 1×4, 32×32", lambda: DPDNN(1, 4, eta=0.8), Identity, 32, (1, 2), 40),
)


@dataclass
class Table:
    """The rows so far. ``until``: when to stop, on time.monotonic()."""

    about: dict[str, Any]
    out: Path | None
    until: float
    rounds: int
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, group: str, case: str, variant: str, **values: Any) -> None:
        self.rows.append({"group": group, "case": case, "variant": variant, **values})
        shown = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        print(f"{group} | {case} | {variant} | {shown}", flush=True)
        if self.out:
            self.out.write_text(json.dumps({"about": self.about, "rows": self.rows}, indent=1, ensure_ascii=False))

    @property
    def over(self) -> bool:
        return time.monotonic() > self.until

    def compare(
        self, group: str, case: str, variants: dict[str, Run], device: str, per: float = 1.0, rounds: int | None = None,
    ) -> None:  # fmt: skip
        """Median ms of each variant in alternating rounds, for each of ``per`` units, and relative to the first."""
        times: dict[str, list[float]] = {}
        for name, run in variants.items():
            if self.over:
                self.add(group, case, name, left_out="out of time")
                continue
            try:
                run()  # builds kernels, chooses algorithms, takes memory
                times[name] = []
            except Exception as error:  # one variant that does not work here does not end the table
                self.add(group, case, name, failed=f"{type(error).__name__}: {str(error).splitlines()[0][:150]}")
        for _ in range(rounds or self.rounds):
            for name, taken in times.items():
                taken.append(seconds(variants[name], device))
            if self.over:
                break
        first = statistics.median(next(iter(times.values()), [1.0]))
        for name, taken in times.items():
            median = statistics.median(taken)
            self.add(group, case, name, ms=1000 * median / per, relative=median / first, rounds=len(taken))


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(run: Run, device: str) -> float:
    wait(device)
    started = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - started


def with_tf32(run: Run, allowed: bool) -> Run:
    def wrapped() -> None:
        set_tf32(allowed)
        try:
            run()
        finally:
            set_tf32(False)

    return wrapped


def with_cudnn_benchmark(run: Run) -> Run:
    def wrapped() -> None:
        torch.backends.cudnn.benchmark = True
        try:
            run()
        finally:
            torch.backends.cudnn.benchmark = False

    return wrapped


def autocast(device: str, on: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device, dtype=torch.bfloat16) if on else nullcontext()


def parts(case: Case, device: str) -> tuple[nn.Module, LinearOperator]:
    torch.manual_seed(0)
    return case.build().eval().to(device), case.operator().to(device)


def channels_last(net: nn.Module) -> nn.Module:
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def forwards(case: Case, device: str, batch: int) -> dict[str, Callable[[], Tensor]]:
    """The forward pass of a batch, in each arithmetic and layout."""
    net, operator = parts(case, device)
    last = channels_last(parts(case, device)[0])
    y = operator.A(torch.rand(batch, 1, case.side, case.side, generator=torch.Generator().manual_seed(1)).to(device))

    def forward(network: nn.Module, bf16: bool = False) -> Callable[[], Tensor]:
        def run() -> Tensor:
            with torch.no_grad(), autocast(device, bf16):
                return network(y, operator)  # type: ignore[no-any-return]

        return run

    return {
        "fp32": forward(net), "fp32, channels-last": forward(last), "bf16 autocast": forward(net, True),
        "bf16 autocast, channels-last": forward(last, True),
    }  # fmt: skip


def time_forwards(table: Table, case: Case, device: str) -> None:
    for batch in case.batches:
        runs: dict[str, Run] = dict(forwards(case, device, batch))
        if device == "cuda":
            tf32 = {k.replace("fp32", "TF32"): with_tf32(run, True) for k, run in runs.items() if k.startswith("fp32")}
            runs |= tf32 | {"fp32, cudnn.benchmark": with_cudnn_benchmark(runs["fp32"])}
            torch.cuda.reset_peak_memory_stats()
        table.compare("forward, ms an image", f"{case.name}, batch {batch}", runs, device, per=batch)


def compare_answers(table: Table, case: Case, device: str) -> None:
    """Relative l2 distance of each arithmetic's answer from that of float64 on the CPU."""
    net, operator = parts(case, "cpu")
    y = operator.A(torch.rand(1, 1, case.side, case.side, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        answers = {"CPU fp32": net(y, operator)}
        exact = net.double()(y.double(), operator.double())
    runs = forwards(case, device, 1)
    answers |= {f"{device} {k}": run() for k, run in runs.items()}
    set_tf32(True)
    answers[f"{device} TF32"] = runs["fp32"]()
    set_tf32(False)
    for name, answer in answers.items():
        distance = float((answer.cpu().double() - exact).norm() / exact.norm())
        table.add("distance from float64", case.name, name, relative=distance)


def time_gradients(table: Table, case: Case, device: str) -> None:
    """Forward pass and gradient in the input."""
    batch = case.batches[1]
    net, operator = parts(case, device)
    frozen = [net.requires_grad_(False), channels_last(parts(case, device)[0]).requires_grad_(False)]
    x = torch.rand(batch, 1, case.side, case.side).to(device).requires_grad_()

    def gradient(network: nn.Module, bf16: bool = False) -> Run:
        def run() -> Tensor:
            with autocast(device, bf16):
                error = network(operator.A(x), operator).float().sub(x).square().sum()
            return torch.autograd.grad(error, x)[0]

        return run

    runs: dict[str, Run] = {"fp32": gradient(frozen[0]), "bf16 autocast, channels-last": gradient(frozen[1], True)}
    if device == "cuda":
        runs |= {
            "TF32": with_tf32(gradient(frozen[0]), True),
            "TF32, channels-last": with_tf32(gradient(frozen[1]), True),
        }
    table.compare("gradient in the input, ms an image", f"{case.name}, batch {batch}", runs, device, per=batch)


def time_noise(table: Table, side: int, n_draws: int, device: str) -> None:
    shape, count = (1, side, side), 8 * side * side
    keys = philox.key_tensor(list(range(n_draws // 8)), device)

    def tensors() -> Tensor:
        return box_muller(philox.tensor_words(keys, words_for(count)).view(torch.int32))

    runs: dict[str, Run] = {
        "made on the CPU and copied": lambda: smoothing_noise(shape, 0, n_draws, 0, "bench").to(device),
        "made on the device": lambda: smoothing_noise(shape, 0, n_draws, 0, "bench", device=device),
        "made on the device without Triton": tensors,
        "torch.randn on the device": lambda: torch.randn(n_draws, *shape, device=device),
    }
    if device == "cuda":
        table.add("noise", "Triton", "in use", value=philox.triton_words() is not None)
    table.compare("noise, ms a draw", f"{n_draws} draws of {side}×{side}", runs, device, per=n_draws)


def time_certificate(table: Table, case: Case, device: str) -> None:
    """A certificate of S draws against as many plain forward passes in batches of the same size."""
    net, operator = parts(case, device)
    x = torch.rand(1, 1, case.side, case.side).to(device)
    y = operator.A(x)
    chunk = max(1, PIXELS_PER_CHUNK[device] // case.side**2)
    batch = y.expand(chunk, *y.shape[1:]).contiguous()

    @torch.no_grad()
    def plain() -> None:
        left = case.n_draws
        while left > 0:
            net(batch[:left], operator)
            left -= chunk

    smoothing = Smoothing(sigma=SIGMA, n_samples=case.n_draws)
    eps = [0.01 * k for k in range(20)]
    runs: dict[str, Run] = {
        "plain forward passes": plain,
        "certificate, 20 radii": lambda: certify_all(net, operator, y, [Discrepancy()], smoothing, eps=eps),
    }
    name = f"{case.name}, S = {case.n_draws}, chunks of {chunk}"
    table.compare("certificate, ms a draw", name, runs, device, per=case.n_draws, rounds=2)
    if device == "cuda":
        tf32 = {k: with_tf32(run, True) for k, run in runs.items()}
        table.compare("certificate in TF32, ms a draw", name, tf32, device, per=case.n_draws, rounds=2)


class FixedRatio(nn.Module):
    """ISTA-Net++ at one ratio. Its own forward pass copies the ratio to the GPU, which no graph can hold."""

    def __init__(self, net: ISTANetPP, operator: BlockGaussian) -> None:
        super().__init__()
        self.phases, n = net.phases, net.n_phases
        with torch.no_grad():
            numbers = net.condition(next(net.parameters()).new_tensor([operator.ratio])).tolist()
        self.numbers = list(zip(numbers[:n], numbers[n:], strict=True))

    def forward(self, y: Tensor, operator: BlockGaussian) -> Tensor:
        inner = operator.uncropped()
        x = inner.A_adjoint(y)
        for phase, (step_size, rho) in zip(self.phases, self.numbers, strict=True):
            x = phase(x, y, inner, step_size, x.new_full((1, 1, 1, 1), rho))
        return operator.crop(x)


def graph_of(net: nn.Module, y: Tensor, operator: LinearOperator) -> Run:
    """Replays the kernels of one forward pass."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.no_grad(), torch.cuda.stream(side):
        for _ in range(3):
            net(y, operator)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        net(y, operator)
    return graph.replay


def time_graphs(table: Table, case: Case, device: str) -> None:
    """Whether replaying one CUDA graph is faster than launching every kernel."""
    for batch in case.batches[:2]:
        net, operator = parts(case, device)
        if isinstance(net, ISTANetPP):
            assert isinstance(operator, BlockGaussian)
            net = FixedRatio(net, operator)
        y = operator.A(torch.rand(batch, 1, case.side, case.side).to(device))
        recorded: list[Run] = []

        @torch.no_grad()
        def plain(net: nn.Module = net, y: Tensor = y, operator: LinearOperator = operator) -> None:
            net(y, operator)

        def replay(
            net: nn.Module = net, y: Tensor = y, operator: LinearOperator = operator, recorded: list[Run] = recorded
        ) -> None:
            if not recorded:
                recorded.append(graph_of(net, y, operator))
            recorded[0]()

        name = f"{case.name}, batch {batch}"
        table.compare("graph, ms an image", name, {"plain": plain, "CUDA graph": replay}, device, per=batch)


def time_compiled(table: Table, case: Case, device: str) -> None:
    """torch.compile of the network, with what it takes to compile."""
    if table.over:
        table.add("compiled, ms an image", case.name, "torch.compile", left_out="out of time")
        return
    net, operator = parts(case, device)
    batch = case.batches[1]
    y = operator.A(torch.rand(batch, 1, case.side, case.side).to(device))
    compiled = torch.compile(net)

    def forward(network: Any) -> Run:
        def run() -> None:
            with torch.no_grad():
                network(y, operator)

        return run

    try:
        taken = seconds(forward(compiled), device)
    except Exception as error:
        failed = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        table.add("compiled, ms an image", case.name, "torch.compile", failed=failed)
        return
    table.add("compiled", case.name, "first call", seconds=taken)
    runs = {"plain": forward(net), "torch.compile": forward(compiled)}
    table.compare("compiled, ms an image", f"{case.name}, batch {batch}", runs, device, per=batch)


def training_step(task: str, algo: str, device: str, quick: bool) -> tuple[Run, int]:
    """All optimiser steps of one batch of the paper's size, and the gradients for each of its patches."""
    from hydra import compose, initialize_config_module

    from invsmooth.config import schema
    from invsmooth.pipeline.build import build_estimator, build_module

    schema.register()
    options = [f"task={task}", f"algo={algo}", *(["operator.train_ratio=[0.1]"] if task.startswith("cs") else [])]
    if algo in ("adv", "smt_adv"):
        options += [f"algo.n_iter={1 if quick else GRADIENTS}"]
    if quick:
        options += ["task.batch_size=2"] + (["algo.n_samples=2"] if algo.startswith("smt") else [])
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("train", options)
    torch.manual_seed(0)
    module = build_module(cfg, build_estimator(cfg, trains=True)).to(device)
    module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    optimizer = torch.optim.Adam(module.estimator.parameters())
    operator = module.train_operators[0]
    assert isinstance(operator, LinearOperator)
    x = torch.rand(cfg.task.batch_size, 1, cfg.task.patch_size, cfg.task.patch_size).to(device)
    b = torch.zeros_like(operator.A(x))

    def run() -> None:
        for update in range(module.updates_per_batch):
            optimizer.zero_grad()
            module.accumulate_gradients(x, b, operator, update)
            optimizer.step()

    return run, module.evals_per_batch


def time_trainings(table: Table, device: str, quick: bool) -> None:
    tasks = ("cs_small", "denoise_small") if quick else ("cs", "denoise")
    for task in tasks:
        for algo in ALGORITHMS:
            if table.over:
                table.add("training, ms a batch", task, algo, left_out="out of time")
                continue
            try:
                run, evaluations = training_step(task, algo, device, quick)
            except Exception as error:
                table.add("training, ms a batch", task, algo, failed=f"{type(error).__name__}: {str(error)[:150]}")
                continue
            attacked = f", {GRADIENTS} gradients" if algo in ("adv", "smt_adv") else ""
            name = f"{algo}{attacked}: {evaluations} evaluations a patch"
            variants = {f"{name}, fp32": run}
            if device == "cuda":
                variants[f"{name}, TF32"] = with_tf32(run, True)
            table.compare("training, ms a batch", task, variants, device, rounds=2)


def about(device: str) -> dict[str, Any]:
    known: dict[str, Any] = {"torch": str(torch.__version__), "device": device}
    if device == "cuda":
        known |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return known


def steps(table: Table, device: str, quick: bool) -> Iterator[Run]:
    """The parts of the table, what matters most first."""
    published, small = (QUICK, ()) if quick else (PUBLISHED, SMALL)
    cases = (*published, *small)
    sides = [(32, 16)] if quick else [(256, 128), (165, 128), (40, 128)]
    yield from (lambda s=side, n=n: time_noise(table, s, n, device) for side, n in sides)  # type: ignore[misc]
    yield from (lambda c=c: compare_answers(table, c, device) for c in cases)  # type: ignore[misc]
    yield from (lambda c=c: time_forwards(table, c, device) for c in cases)  # type: ignore[misc]
    yield from (lambda c=c: time_gradients(table, c, device) for c in cases)  # type: ignore[misc]
    yield from (lambda c=c: time_certificate(table, c, device) for c in reversed(cases))  # type: ignore[misc]
    yield lambda: time_trainings(table, device, quick)
    if device == "cuda":
        yield from (lambda c=c: time_graphs(table, c, device) for c in cases)  # type: ignore[misc]
        # The small ones: compiling takes longer than all else.
        yield from (lambda c=c: time_compiled(table, c, device) for c in reversed(cases))  # type: ignore[misc]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks and images")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="start nothing new after so many")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no CUDA device here; --device cpu --quick shows that the program runs")
    set_tf32(False)
    known = about(given.device)
    print(known, flush=True)
    until = time.monotonic() + given.seconds
    table = Table(known, given.out, until, rounds=2 if given.quick else 5)
    for step in steps(table, given.device, given.quick):
        if table.over:
            break
        started = time.monotonic()
        try:
            step()
        except Exception as error:  # the rest of the table is worth having
            table.add("failed", "", type(error).__name__, why=str(error)[:300])
        if given.device == "cuda":
            torch.cuda.empty_cache()
        print(f"# {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
