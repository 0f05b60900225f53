"""The certifier ``lipschitz``: what follows from a proven Lipschitz constant of the estimator (SPEC
section 10). No draws, no probability of failure, any eps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from invsmooth.certificates.certificate import Certificate, object_rows
from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.deterministic import Deterministic
from invsmooth.certificates.fields import REAL, TEXT, real
from invsmooth.certificates.floor import COLUMNS
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units, certified_radius

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.checks.truth import Attacked, TruthCheck
    from invsmooth.estimators.frozen import Estimator
    from invsmooth.estimators.precise import Precise
    from invsmooth.operators.base import Operator

THREATS = ("signal", "measurement")


@dataclass(frozen=True, repr=False)
class LipschitzCertificate(Certificate):
    """``bound`` is (L eps + 2 rho)²/n: how far f^, the estimator in float64, can move.

    Attributes:
        certified_error: MSE bound of f^(y') to the clean image x, per radius; nan if x was not given.
        radii: eps, per radius.
        lipschitz: L; nan where none is proven.
        inexactness: rho, l2 norm, shape (B,).
        error: ||f^(y) - x||, shape (B,); nan if x was not given.
        precise: f^(y), shape (B, C, H, W), float64; f(y) where there is no L.
        y: the measurements.
        no_constant: why no L is proven; "" where one is."""

    RADIUS_AXIS = (*Certificate.RADIUS_AXIS, "certified_error", "radii")

    certified_error: Tensor
    radii: Tensor
    lipschitz: float
    inexactness: Tensor
    error: Tensor
    precise: Tensor
    y: Tensor
    no_constant: str

    def n_drawn_for(self, i: int, n_samples: int) -> int:
        return 0


class Lipschitz(Deterministic):
    """Let L be a proven Lipschitz constant, l2 to l2, and rho a proven bound of the distance between
    f^, the estimator as computed in float64, and the map that has the constant. For every z' within
    eps of z: ||f^(y_{z'}) - f^(y_z)|| <= L eps + 2 rho, and so ||f^(y_{z'}) - x|| <= ||f^(y_z) - x|| +
    L eps + 2 rho. Under ``certificate.units=paper`` the radius is that of the other certifiers,
    eps/255, and the row is not sound.

    Args:
        threat: where the attack is added: ``"signal"`` (xi to z) or ``"measurement"`` (eta to y,
            ||eta|| <= eps)."""

    name = "lipschitz"
    declared = CertifierDeclaration(
        name="lipschitz", statement="the reconstruction itself: MSE by which it can move", order=60, colour="#0B6E4F",
        marker="X", shown="reconstruction", axis="lipschitz: MSE that the\nreconstruction can move", smooths=False,
        curves={"mse": "bound", "psnr": "certified_psnr_lipschitz"}, truth_in=("mse",),
        columns=(
            Column("certified_psnr_lipschitz", "dB", "PSNR of the reconstruction under every attack, for sure.",
                   certified=True, heading="certified PSNR (Lipschitz)", digits=".2f"),
            Column("lipschitz", "", "L, the proven Lipschitz constant.", heading="L", digits=".4g"),
            Column("inexactness", "l2, [0, 1] pixels", "rho, how far the computed map is from the one that has L.",
                   heading="ρ", digits=".1e"),
            *COLUMNS,
            Column("threat", "", "What the attack is added to: signal or measurement.", kind="text"),
        ),
    )  # fmt: skip
    records_image = True
    ranges: ClassVar = {"threat": (lambda v: v in THREATS, f"one of {', '.join(THREATS)}")}
    follows = ("certified_error",)
    scales = dict.fromkeys(("lipschitz", "inexactness", "error"), "float64")

    def __init__(self, threat: Literal["signal", "measurement"] = "signal") -> None:
        self.threat = threat

    def check(self, smoothing: Smoothing) -> None:
        if self.threat not in THREATS:
            raise ValueError(f"threat={self.threat!r} is none of {', '.join(THREATS)}")

    def without_draws(self, estimator: Estimator, operator: Operator, y: Tensor, x: Tensor | None,
                      eps: Sequence[float]) -> LipschitzCertificate:  # fmt: skip
        import torch

        from invsmooth.core.errors import NoConstant
        from invsmooth.estimators.precise import Precise
        from invsmooth.lipschitz.constants import lipschitz_constant

        reason = ""
        try:
            f = Precise(estimator, operator)
            constant = lipschitz_constant(f.estimator, f.operator, self.threat)
            rho = [self.inexactness(f, own, max(eps)) for own in y.double().split(1)]
            precise = f(y, x)
        except NoConstant as error:
            reason, constant, rho = f"no certificate: {error}", math.nan, [math.nan] * len(y)
            precise = reconstruction(estimator, operator, y, x)
        n = precise[0].numel()
        errors = [math.nan] * len(y) if x is None or reason else lengths(precise - x.double())
        found = [[bounds(constant, r, e, radius, n) for radius in eps] for r, e in zip(rho, errors, strict=True)]
        shown = precise.to(y.dtype)
        pictures = shown[:, None].expand(-1, len(eps), -1, -1, -1)

        def tensor(values: object) -> Any:  # Tensor, for the dictionaries below
            return torch.tensor(values, dtype=torch.float64, device=y.device)

        return LipschitzCertificate(
            **{name: tensor([[b[name] for b in row] for row in found]) for name in ("bound", "certified_error")},
            k_index=object_rows([None] * len(eps), len(y)), median=tensor([[math.nan] * len(eps)] * len(y)),
            reconstruction_median=pictures, reconstruction_certified=pictures,
            reason=object_rows([reason] * len(eps), len(y)), sound=True, network_evals=1, shown=shown,
            draws=shown.new_empty(len(y), 0), radii=tensor([list(eps)] * len(y)), lipschitz=constant,
            inexactness=tensor(rho), error=tensor(errors), precise=precise, y=y, no_constant=reason,
        )  # fmt: skip

    def inexactness(self, f: Precise, y: Tensor, eps: float) -> float:
        """rho on the ball of this radius around ``y``. Raises: NoConstant: none is proven."""
        from invsmooth.core.errors import NoConstant
        from invsmooth.lipschitz.constants import inexactness, operator_norm_bound, positive

        why = ""
        if self.threat == "signal" and eps > 0:
            try:
                eps *= operator_norm_bound(f.operator)  # radius in the space of y
            except NoConstant as error:
                eps, why = math.inf, str(error)
        found = inexactness(f.estimator, f.operator, y, eps)
        if why and not math.isfinite(found):
            raise NoConstant(
                "the estimator is computed by a solver, whose error grows with the attack on y, and how large that is "
                f"nobody knows: {why}"
            )
        return positive("the inexactness", found)

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        from invsmooth.metrics import mse_to_psnr

        assert isinstance(certificate, LipschitzCertificate)
        return {
            "certified_psnr_lipschitz": float(mse_to_psnr(certificate.certified_error[i])),
            "lipschitz": certificate.lipschitz, "inexactness": float(certificate.inexactness[i]), "threat": self.threat,
        }  # fmt: skip

    def truth_cost(self, n_samples: int) -> int:
        return 1

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        from invsmooth.checks.movement import check_movement

        assert isinstance(certificate, LipschitzCertificate)
        return check_movement(
            attacked, certificate.bound, y=certificate.y, x_hat=certificate.precise, constant=certificate.lipschitz,
            radius=certificate.radii, in_signal=self.threat == "signal",
        )  # fmt: skip

    # Its certificate file.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        own = {"threat": TEXT, "lipschitz": REAL, "inexactness": REAL, "error": REAL, "no_constant": TEXT}
        return own | {"radii": [{"certified_error": REAL}]}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        assert isinstance(certificate, LipschitzCertificate)
        errors = certificate.certified_error[i].tolist()
        return {
            "lipschitz": real(certificate.lipschitz), "inexactness": real(float(certificate.inexactness[i])),
            "error": real(float(certificate.error[i])), "no_constant": certificate.no_constant,
            "radii": [{"certified_error": real(e)} for e in errors],
        }  # fmt: skip

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        constant, rho, error = (float(record[k]) for k in ("lipschitz", "inexactness", "error"))
        eps = [certified_radius(row["eps"], units) for row in record["radii"]]
        found = [{k: real(v) for k, v in bounds(constant, rho, error, e, n).items()} for e in eps]
        return {"radii": [row | {"reason": record["no_constant"]} for row in found]}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        for name in ("lipschitz", "inexactness", "error"):
            value = float(record[name])
            if record["no_constant"] and not math.isnan(value):
                yield f"{name}: {value!r}, although there is no constant ({record['no_constant']})"
            elif not record["no_constant"] and not (math.isfinite(value) and value >= 0):
                yield f"{name}: {value!r} is not finite and at least 0"

    def excused(self, record: Mapping[str, Any], field: str, recorded: Any, again: Any, *, narrow: bool) -> bool:
        if field != "error" or record["no_constant"]:
            return False
        # A solver that stops elsewhere: both are within rho of the exact map.
        return abs(float(recorded) - float(again)) <= 2 * float(record["inexactness"])


def bounds(constant: float, rho: float, error: float, eps: float, n: int) -> dict[str, float]:
    """The bounds at one radius as MSE over n pixels, from the l2 norms rho and ||f^(y) - x||."""
    moved = constant * eps + 2 * rho
    return {"bound": moved * moved / n, "certified_error": (error + moved) ** 2 / n}


def lengths(difference: Tensor) -> list[float]:
    found: list[float] = difference.flatten(1).norm(dim=1).tolist()
    return found


def reconstruction(estimator: Estimator, operator: Operator, y: Tensor, x: Tensor | None) -> Tensor:
    """f(y) in the precision of y."""
    import torch

    from invsmooth.estimators.frozen import frozen
    from invsmooth.estimators.premises import checked

    with torch.no_grad(), frozen(estimator):
        return checked(estimator, operator, y, x).reconstruction(y)
