"""The certifier ``mean``: how far the mean of the smoothed reconstructions can move (SPEC 6.3); the
arithmetic of its bounds is in :mod:`invsmooth.certificates.variance_constrained`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from invsmooth.certificates.certificate import Certificate, object_rows
from invsmooth.certificates.certifier import Certifier, Smoothing, Use
from invsmooth.certificates.fields import AT_LEAST_2, NUMBER, REAL, WHOLE, real
from invsmooth.certificates.order_statistics import ratio_of
from invsmooth.certificates.variance_constrained import check_confidence, movement
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.draws import Draws
    from invsmooth.checks.truth import Attacked, TruthCheck

DEFAULT_CENTRE = 500  # S_0, unless S is smaller: draws from which c and R are fixed
SLACK = 1e-6  # Relative rounding of recorded lengths against each other
FORMS = {"bound": "shift", "bound_to_shown": "offset"} | {k: k for k in ("chi_square", "total_variation", "trace")}
"""Bounds -> lengths of a Movement."""
BOUNDS = (*FORMS, "certified_error")
LENGTHS = ("lambda_hat", "trace_hat", "radius", "mean_offset", "centre_error", "mean_error")
"""What the bounds follow from, one value for each image."""


@dataclass(frozen=True, repr=False)
class MeanCertificate(Certificate):
    """``bound`` is the square of the largest shift ||m~(z') - m~(z)||, divided by n.

    m~ is the mean of the smoothed reconstructions, clipped to the ball of radius R around c (=
    ``shown``), m^ the mean of the S draws.

    Attributes:
        bound_to_shown, certified_error: MSE bounds of m~(z') to c and to the clean image x, per
            radius; the latter nan if x was not given.
        chi_square, total_variation, trace: ``bound`` by simpler arguments, per radius; inf where
            out of float range.
        lambda_hat, trace_hat: of the second moment of the S draws about c, an upper bound of the
            largest eigenvalue, and the trace, shape (B,).
        radius, mean_offset: the l2 norms R and ||c - m^||, shape (B,).
        centre_error, mean_error: ||c - x|| and ||m^ - x||, shape (B,); nan if x was not given.
        clipped: how many of the S draws were clipped, shape (B,).
        n_centre: S_0, draws that c and R are from."""

    RADIUS_AXIS = (*Certificate.RADIUS_AXIS, *(name for name in BOUNDS if name != "bound"))

    bound_to_shown: Tensor
    certified_error: Tensor
    chi_square: Tensor
    total_variation: Tensor
    trace: Tensor
    lambda_hat: Tensor
    trace_hat: Tensor
    radius: Tensor
    mean_offset: Tensor
    centre_error: Tensor
    mean_error: Tensor
    clipped: Tensor
    n_centre: int


class Mean(Certifier):
    """The mean of the smoothed reconstructions, clipped to a ball that the observation fixes, moves
    by at most ``bound`` (MSE) from z to any z' within eps, at every eps. c and R are from the draws
    0 … S_0 - 1, all else from the independent draws S_0 … S_0 + S - 1. With probability at least c
    over the latter ``bound``, ``bound_to_shown`` and ``certified_error`` hold at all radii.

    Args:
        n_centre: S_0, draws beside the S; None takes DEFAULT_CENTRE, at most S."""

    name = "mean"
    declared = CertifierDeclaration(
        name="mean", statement="smoothed mean: MSE by which it can move", order=40, colour="#D55E00", marker="s",
        shown="smoothed mean", axis="mean: MSE that the\nsmoothed mean can move",
        curves={"mse": "bound", "psnr": "certified_psnr_mean"}, truth_in=("mse",),
        columns=(
            Column("certified_psnr_mean", "dB", "PSNR of the mean estimator under every attack.", certified=True,
                   heading="certified PSNR of the mean", digits=".2f"),
            Column("ball_radius", "l2, [0, 1] pixels", "R, radius of the ball that the draws are clipped to."),
            Column("clipped", "", "How many draws were clipped.", kind="whole"),
            Column("bound_chi_square", "MSE", "The bound by the chi-square divergence.", certified=True),
            Column("bound_total_variation", "MSE", "The bound by total variation.", certified=True),
            Column("bound_trace", "MSE", "The bound with the trace in place of the eigenvalue.", certified=True),
        ),
    )  # fmt: skip
    truth_evals = 2
    rereads = records_image = True
    ranges: ClassVar = {"n_centre": AT_LEAST_2}
    follows = BOUNDS
    scales = {"median": "mse", "lambda_hat": "squared length", "trace_hat": "squared length"} | dict.fromkeys(
        ("radius", "mean_offset", "centre_error", "mean_error"), "length"
    )

    def __init__(self, n_centre: Annotated[int, Field(ge=2, description="a whole number >= 2")] | None = None) -> None:
        self.n_centre = n_centre

    def check(self, smoothing: Smoothing) -> None:
        check_confidence(smoothing.confidence)
        if self.n_centre is not None and self.n_centre < 2:
            raise ValueError(f"n_centre={self.n_centre} has to be at least 2")

    def n_first(self, each: Smoothing) -> int:
        return max(2, min(DEFAULT_CENTRE, each.n_samples)) if self.n_centre is None else self.n_centre

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        reason = "no certificate: without noise the mean is a single reconstruction; it needs sigma > 0"
        return reason if math.isinf(ratio) else ""

    def over_eps(self, how: str, *, apart: bool | None = None) -> str:
        return "none"  # its radii hold together anyway

    def joint_over_eps(self, each: Smoothing) -> bool:
        return True

    def stops(self, each: Smoothing) -> tuple[int, ...]:
        return each.n_drawn, each.distinct(self.n_first(each)) + each.n_drawn

    def n_draws(self, each: Smoothing) -> int:
        return self.n_first(each) + each.n_samples

    def uses(self, draws: Draws, x: Tensor | None, each: Smoothing) -> list[Use]:
        from invsmooth.certificates.moments import moments_content

        of_image, n_first = None if x is None else x[0], each.distinct(self.n_first(each))
        content = moments_content(draws.image(0), of_image, n_first, each.n_drawn)
        return [Use("moments", content, n_first + each.n_drawn)]

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> MeanCertificate:  # fmt: skip
        import torch

        from invsmooth.certificates.moments import cached_moments

        n_first, images = each.distinct(self.n_first(each)), [None] * len(draws) if x is None else x
        found = [cached_moments(draws.image(i), own, n_first, each.n_drawn) for i, own in enumerate(images)]
        ratios, n = [ratio_of(e, draws.sigma) for e in eps], draws.image_shape.numel()
        bounds = [[mse_bounds(vars(m), ratio, each, n) for ratio in ratios] for m in found]
        centres = torch.stack([m.centre for m in found]).to(draws.y)
        pictures = centres[:, None].expand(-1, len(eps), -1, -1, -1)

        def tensor(values: object) -> Any:  # Tensor, for the dictionaries below
            return torch.tensor(values, dtype=torch.float64, device=draws.y.device)

        return MeanCertificate(
            k_index=object_rows([None] * len(eps), len(draws)),
            median=tensor([m.median for m in found])[:, None].expand(-1, len(eps)),
            reconstruction_median=pictures, reconstruction_certified=pictures,
            reason=object_rows([self.why_impossible(ratio, each) for ratio in ratios], len(draws)), sound=True,
            network_evals=1 + n_first + each.n_drawn, shown=centres, draws=centres.new_empty(len(draws), 0),
            n_centre=self.n_first(each), **{k: tensor([[b[k] for b in row] for row in bounds]) for k in BOUNDS},
            **{name: tensor([getattr(m, name) for m in found]) for name in (*LENGTHS, "clipped")},
        )  # fmt: skip

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        from invsmooth.metrics import mse_to_psnr

        assert isinstance(certificate, MeanCertificate)
        simpler = {f"bound_{k}": float(getattr(certificate, k)[i]) for k in ("chi_square", "total_variation", "trace")}
        psnr = float(mse_to_psnr(certificate.certified_error[i]))
        own = {"ball_radius": float(certificate.radius[i]), "clipped": int(certificate.clipped[i])}
        return {"certified_psnr_mean": psnr} | own | simpler

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        from invsmooth.checks.truth import check_mean

        assert isinstance(certificate, MeanCertificate)
        n, enough = attacked.x[0].numel(), replace(attacked, n_samples=max(4, attacked.n_samples))
        shift, radius = (certificate.bound * n).sqrt(), certificate.radius
        return check_mean(enough, each, shift, centre=certificate.shown, radius=radius).scaled(power=2, factor=1 / n)

    # Its certificate file.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        own = {"n_centre": WHOLE, "clipped": WHOLE, "median": NUMBER} | dict.fromkeys(LENGTHS, REAL)
        return own | {"radii": [dict.fromkeys(BOUNDS, REAL)]}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        assert isinstance(certificate, MeanCertificate)
        return {
            "median": float(certificate.median[i, 0]), "n_centre": certificate.n_centre,
            "clipped": int(certificate.clipped[i]),
            **{name: real(float(getattr(certificate, name)[i])) for name in LENGTHS},
            "radii": [{name: real(float(getattr(certificate, name)[i, j])) for name in BOUNDS}
                      for j in range(certificate.bound.shape[1])],
        }  # fmt: skip

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        lengths = {name: float(record[name]) for name in LENGTHS}
        rows = [{k: real(v) for k, v in mse_bounds(lengths, ratio, each, n).items()} for ratio in ratios]
        return {"radii": [row | {"reason": self.why_impossible(r, each)} for row, r in zip(rows, ratios, strict=True)]}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        """Relations between the lengths that hold whatever the network."""
        numbers = {k: float(record[k]) for k in ("radius", "lambda_hat", "trace_hat", "mean_offset", "median")}
        for name, value in numbers.items():
            if not (math.isfinite(value) and value >= 0):
                yield f"{name}: {value} is not finite and at least 0"
        longest = 1 + SLACK
        for lesser, greater in (("lambda_hat", "trace_hat"), ("trace_hat", "radius"), ("mean_offset", "trace_hat")):
            a, b = (numbers[k] ** (2 if k in ("radius", "mean_offset") else 1) for k in (lesser, greater))
            if a > b * longest:
                small, large = (f"{k} = {numbers[k]!r}" for k in (lesser, greater))
                yield f"{lesser} and {greater}: {small} is too large for {large}"
        centre, mean = float(record["centre_error"]), float(record["mean_error"])
        if abs(centre - mean) > longest * numbers["mean_offset"] + SLACK * centre or centre < 0 or mean < 0:
            yield f"centre_error and mean_error: {centre!r} and {mean!r} are further apart than mean_offset"
        if not 0 <= record["clipped"] <= record["n_samples"]:
            yield f"clipped: {record['clipped']} is not between 0 and n_samples"

    def spread(self, record: Mapping[str, Any], n: int) -> float:
        return float(record["radius"])

    def excused(self, record: Mapping[str, Any], field: str, recorded: Any, again: Any, *, narrow: bool) -> bool:
        return field == "clipped" and (narrow or abs(recorded - again) <= 1)


def mse_bounds(lengths: Mapping[str, Any], ratio: float, each: Smoothing, n: int) -> dict[str, float]:
    """BOUNDS at eps/sigma = ``ratio``, MSE over n pixels, from LENGTHS; nan without noise."""
    numbers = {k: lengths[k] for k in ("lambda_hat", "trace_hat", "radius", "mean_offset")}
    moved = movement(**numbers, ratio=ratio, confidence=each.confidence, n_samples=each.n_drawn)
    found = {name: getattr(moved, form) for name, form in FORMS.items()}
    found["certified_error"] = moved.error(lengths["centre_error"], lengths["mean_error"])
    return {name: math.nan if math.isinf(ratio) else v * v / n for name, v in found.items()}
