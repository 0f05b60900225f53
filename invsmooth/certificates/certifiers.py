"""Certify how far any attack of radius eps can move a smoothed reconstruction (SPEC section 6).

y is the observed measurement of a signal z, y_z' that of z' with the same noise b, f the network, and
delta ~ N(0, sigma² I). Each bound holds with probability at least ``confidence`` over the draws, for EVERY signal z' within
eps of z (the clean signal among them, where an attack of at most eps separates the two). As an MSE:

- ``discrepancy``: at least a fraction q of the smoothed reconstructions f(y_{z'+delta}) is within ``bound`` of f(y), the
  reconstruction just made. That reference is held fixed: it depends neither on delta nor on z'. The paper's
  Corollary 3.2 lets it move with the attack, and is false then.
- ``error`` (evaluation only): the same with the clean image x as the reference: a certified MSE.
- ``radius``: the largest eps at which one of these two is at most ``threshold``.
- ``mean``: the mean of the smoothed reconstructions (clipped to a ball that the observation fixes) moves by at most
  ``bound`` from z to z'. It bounds at every eps. :class:`MeanCertificate` adds the distance to the image shown and to x.
- ``center``: the centres of center smoothing at z and z' are at most ``bound`` apart, where neither abstains.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates.center import center_certificate
from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.draws import Draws, ImageKeys
from invsmooth.certificates.impossible import PERCENTILE_CERTIFIERS, check_certifier, each_confidence
from invsmooth.certificates.mean import centre_draws, mean_certificate
from invsmooth.certificates.order_statistics import as_radii, check_quantile, check_sampling, is_number, ratio_of
from invsmooth.certificates.percentile import Percentile, percentile_certificates
from invsmooth.certificates.variance_constrained import check_confidence
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import checked
from invsmooth.operators.base import Operator


def certify(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    sigma: float,
    eps: float | Sequence[float],
    n_samples: int,
    confidence: float = 0.99,
    q: float = 0.5,
    certifier: str = "discrepancy",
    x: Tensor | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
    simultaneous: str = "none",
    threshold: float | None = None,
    radius_of: str = "discrepancy",
    n_centre: int | None = None,
    n_pred: int | None = None,
) -> Certificate:
    """Certify the smoothed reconstructions of measurements ``y`` at every radius of ``eps``, from one set of draws.

    Args:
        estimator, operator: the reconstruction ``estimator(y, operator)``.
        y: measurements, shape (B, …).
        sigma: standard deviation per pixel of the smoothing noise, [0, 1] pixel scale.
        eps: l2 radius or radii over one whole image, [0, 1] pixel scale.
        n_samples: S, draws for each image.
        confidence: c, one-sided.
        q: the quantile of the smoothed reconstructions that is bounded (discrepancy, error, radius).
        certifier: one of CERTIFIERS; see the module.
        x: clean images, shape (B, C, H, W); the error needs them.
        seed: of the draws.
        chunk_size: draws at a time, which bounds the memory; the result does not depend on it (but for rounding).
        image_keys: a name for each image, which seeds its draws; left out, its position in the batch.
        simultaneous: over the radii, ``"none"`` (each holds on its own with the confidence given), ``"bonferroni"`` (all
            those given hold together) or ``"dkw"`` (all there are, and all q). ``mean`` holds at all radii anyway.
        threshold: MSE of ``radius``.
        radius_of: ``"discrepancy"`` or ``"error"``: what ``radius`` is about.
        n_centre: S_0 of ``mean``, draws beside the S; None takes 500, at most S.
        n_pred: draws of ``center``, twice, beside the S; None chooses them by the confidence (4794 at 0.99).
    Returns: a :class:`Certificate`; of ``radius``, ``mean`` and ``center`` the subclass.
    Raises:
        ValueError: a value outside its range, an unknown certifier, or one that lacks ``x`` or ``threshold``.
        PremiseError (a ValueError): estimator, operator, y or x are such that a certificate would mean nothing; see
            :func:`invsmooth.estimators.premises.checked`. It evaluates the estimator twice more for each batch.
    """
    check_certifier(certifier)
    found = certify_all(
        estimator, operator, y, sigma=sigma, eps=as_radii(eps), n_samples=n_samples, confidence=confidence, q=q,
        certifiers=(certifier,), x=x, seed=seed, chunk_size=chunk_size, image_keys=image_keys, simultaneous=simultaneous,
        threshold=threshold, radius_of=radius_of, n_centre=n_centre, n_pred=n_pred,
    )[certifier]  # fmt: skip
    return found.at(0) if is_number(eps) else found


def certify_all(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    certifiers: Sequence[str],
    sigma: float,
    eps: Sequence[float],
    n_samples: int,
    confidence: float = 0.99,
    q: float = 0.5,
    x: Tensor | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
    simultaneous: str = "none",
    threshold: float | None = None,
    radius_of: str = "discrepancy",
    n_centre: int | None = None,
    n_pred: int | None = None,
    remember: Remember = not_kept,
) -> dict[str, Certificate]:
    """Several certifiers; see :func:`certify`. They share one set of draws, of which each takes the first ones: together
    they cost what the one that needs the most of them does.

    Each certificate has the radius axis, and holds with the confidence given on its own.

    remember: keeps the errors and moments of the draws, from which certificates at other radii, confidences and quantiles
        follow without drawing again. It has to know which estimator and operator they are of.
    """
    eps, sigma = as_radii(eps), float(sigma)
    each = each_confidence(confidence, simultaneous, len(eps))
    plan = Percentile(eps, sigma, n_samples, each, q, dkw=simultaneous == "dkw")
    check(certifiers, plan, confidence, x, chunk_size, threshold, radius_of, n_centre, n_pred)
    keys = list(range(len(y))) if image_keys is None else list(image_keys)
    known = checked(estimator, operator, y, x)
    known.check_sigma(sigma, y)
    with torch.no_grad(), frozen(known):
        shown = known.reconstruction(y)
        draws = Draws(known, operator, y, sigma, shown.shape[1:], seed, keys, chunk_size, remember=remember)
        found: dict[str, Certificate] = {}
        shared = [c for c in certifiers if c in PERCENTILE_CERTIFIERS]
        draws = shared_draws(draws, certifiers, n_samples, centre_draws(n_centre, n_samples))
        if shared:
            wanted = {radius_of if c == "radius" else c for c in shared}
            references = {c: r for c, r in (("discrepancy", shown), ("error", x)) if c in wanted and r is not None}
            limit = threshold if "radius" in shared else None
            found |= percentile_certificates(draws, shown, references, plan, radius_of, limit)
        if "mean" in certifiers:
            found["mean"] = mean_certificate(draws, x, eps, n_samples, n_centre, confidence)
        if "center" in certifiers:
            found["center"] = center_certificate(draws, eps, n_samples, n_pred, each, plan.dkw)
    return {certifier: found[certifier] for certifier in certifiers}


def shared_draws(draws: Draws, certifiers: Sequence[str], n_samples: int, n_centre: int) -> Draws:
    """The draws, those made once that are needed several times: those of ``mean``, and those of the percentile certifiers if
    they fit into memory or ``center`` goes on from them. The thousands that ``center`` alone takes are not kept."""
    n_drawn, n_centre = (n_samples, n_centre) if draws.sigma > 0 else (1, 1)
    if "mean" in certifiers:
        return draws.making(n_drawn, n_centre + n_drawn)
    keep = any(c in PERCENTILE_CERTIFIERS for c in certifiers) and ("center" in certifiers or draws.fit(n_drawn))
    return draws.making(n_drawn) if keep else draws


def check(
    certifiers: Sequence[str],
    plan: Percentile,
    confidence: float,
    x: Tensor | None,
    chunk_size: int | None,
    threshold: float | None,
    radius_of: str,
    n_centre: int | None,
    n_pred: int | None,
) -> None:
    """Raises ValueError: a value outside its range, or missing."""
    for certifier in certifiers:
        check_certifier(certifier)
    check_sampling(plan.n_samples, plan.confidence)
    check_quantile(plan.q)
    if "mean" in certifiers:
        check_confidence(confidence)
    for eps in plan.radii:
        ratio_of(eps, plan.sigma)
    if plan.dkw:
        plan.ranks()
    for name, value, least in (("chunk_size", chunk_size, 1), ("n_centre", n_centre, 2), ("n_pred", n_pred, 1)):
        if value is not None and value < least:
            raise ValueError(f"{name}={value} has to be at least {least}")
    if radius_of not in ("discrepancy", "error"):
        raise ValueError(f"radius_of={radius_of!r} is neither discrepancy nor error")
    if "radius" in certifiers and threshold is None:
        raise ValueError("certifier='radius' needs the MSE that it is about: give threshold")
    if x is None and ("error" in certifiers or ("radius" in certifiers and radius_of == "error")):
        raise ValueError("certifier='error' compares with the clean image: give x")
