"""Certify how far any attack of radius eps can move a smoothed reconstruction (SPEC section 6), or,
without smoothing, the reconstruction itself (section 10).

y is the observed measurement of a signal z, y_z' that of z' with the same noise b, f the network,
and delta ~ N(0, sigma² I). Each bound holds with probability at least ``confidence`` over the
draws, for EVERY signal z' within eps of z (the clean signal among them, if an attack of at most eps
separates the two). What is bounded, as an MSE, is said by each certifier's module."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates.by_name import as_certifier
from invsmooth.certificates.certificate import Certificate, Settings
from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.order_statistics import as_radii, is_number, ratio_of
from invsmooth.certificates.radius import Decision, Radius, decide_threshold
from invsmooth.core.callbacks import Progress, told
from invsmooth.core.numpy_too import numpy_too
from invsmooth.core.rng import ImageKeys, keys_of
from invsmooth.estimators.fastest import fastest
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import check_tensor, checked, warn_of_grey_levels
from invsmooth.operators.base import Operator


@numpy_too("y", "x")
def certify(
    estimator: Estimator, operator: Operator, y: Tensor, *, sigma: float | None = None, eps: float | Sequence[float],
    n_samples: int | None = None, confidence: float = 0.99, q: float = 0.5,
    certifier: str | type[Certifier] | Certifier = "discrepancy", x: Tensor | None = None, seed: int = 0,
    chunk_size: int | None = None, image_keys: ImageKeys | None = None, simultaneous: str = "none",
    threshold: float | None = None, radius_of: str | None = None, n_centre: int | None = None, n_pred: int | None = None,
    threat: str | None = None, progress: Progress | bool = False,
) -> Certificate:  # fmt: skip
    """Certify the smoothed reconstructions of measurements ``y`` at every radius of ``eps``, from
    one set of draws; or the reconstructions themselves (``certifier="lipschitz"``), without draws.

    Args:
        estimator, operator: the reconstruction ``estimator(y, operator)``.
        y: measurements, shape (B, …).
        sigma: standard deviation per pixel of the smoothing noise, [0, 1] pixel scale.
        eps: l2 radius or radii over one whole image, [0, 1] pixel scale.
        n_samples: S, draws for each image. ``lipschitz``, which does not smooth, needs neither that
            nor sigma; nor do confidence, q, seed and simultaneous mean anything for it.
        confidence: c, one-sided.
        q: the quantile of the smoothed reconstructions that percentile certifiers bound.
        certifier: the name of one of ours, a class, or ``Mean(n_centre=100)``: a certifier with its
            parameters.
        x: clean images, shape (B, C, H, W); the error needs them.
        seed: of the draws.
        chunk_size: draws at a time, which bounds the memory; the result does not depend on it (but
            for rounding).
        image_keys: a name for each image, which seeds its draws; left out, its position in the
            batch.
        simultaneous: over the radii, ``"none"`` (each holds on its own with the confidence given),
            ``"bonferroni"`` (all those given hold together) or ``"dkw"`` (all there are, and all
            q). ``mean`` holds at all radii anyway.
        threshold, radius_of, n_centre, n_pred, threat: parameters of a certifier that is given by
            name or class; None for its default.
        progress: True shows a bar; a function is called as ``progress(done, total)``, in reconstructions.
    y and x may be NumPy arrays; the arrays of the certificate then are, too.
    Returns: a :class:`Certificate`; of ``radius``, ``mean``, ``center`` and ``lipschitz`` the
        subclass. Without a proven constant ``lipschitz`` has no bound, and ``reason`` says why.
    Raises:
        ValueError: a value outside its range, an unknown certifier, or one that lacks ``sigma``,
            ``n_samples``, ``x`` or ``threshold``.
        PremiseError (a ValueError): estimator, operator, y or x are such that a certificate would
            mean nothing; see :func:`invsmooth.estimators.premises.checked`. It evaluates the
            estimator twice more for each batch."""
    given = {"threshold": threshold, "radius_of": radius_of, "n_centre": n_centre, "n_pred": n_pred, "threat": threat}
    chosen = as_certifier(certifier, given)
    if ignored := [f"{k}={v!r}" for k, v in given.items() if v is not None and chosen.parameters.get(k) != v]:
        takes = ", ".join(chosen.parameters) or "no parameters"
        raise ValueError(f"certifier={chosen.name!r} has no use for {', '.join(ignored)}: it takes {takes}")
    check_tensor("y", y)
    # Without their gradients, but the same objects: what was checked with y is not evaluated again.
    y = y.detach() if y.requires_grad else y
    x = x.detach() if x is not None and x.requires_grad else x
    radii = radii_of(eps)
    check_numbers(sigma=sigma, n_samples=n_samples, confidence=confidence, seed=seed)
    if chosen.smooths and (sigma is None or n_samples is None):
        raise ValueError(f"certifier={chosen.name!r} smooths: give sigma and n_samples")
    smoothing = Smoothing(
        sigma=math.nan if sigma is None else float(sigma), n_samples=n_samples or 0, confidence=confidence, q=q,
        simultaneous=simultaneous, seed=seed, chunk_size=chunk_size,
    )  # fmt: skip
    with told(estimator, progress, len(y) * (smoothing.n_samples + 1)) as watched:
        made = certify_all(watched, operator, y, [chosen], smoothing, eps=radii, x=x, image_keys=image_keys)[
            chosen.name
        ]
    if x is None:  # which is looked at with the other premises
        warn_of_grey_levels("the reconstructions have", made.shown)
    own = tuple(sorted((k, v) for k, v in chosen.parameters.items() if v is not None))
    known = Settings(chosen.name, tuple(radii), sigma, smoothing.n_samples, confidence, q, simultaneous, seed, own)
    found = replace(made, settings=known if chosen.smooths else replace(known, sigma=None, confidence=1.0))
    return found.at(0) if is_number(eps) else found


def radii_of(eps: Any) -> list[float]:
    """Raises: ValueError: no numbers, as texts from a command line are, or none at all."""
    try:
        radii = [] if isinstance(eps, str) else [*eps] if isinstance(eps, Iterable) and not is_number(eps) else [eps]
        if radii and not any(isinstance(e, str) for e in radii):
            return as_radii(radii)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"eps={eps!r} is no number; give eps=0.1 or eps=[0.1, 0.2]")


def check_numbers(sigma: Any, n_samples: Any, confidence: Any, seed: Any) -> None:
    """Raises: ValueError: no numbers, or a sigma that is not finite."""
    if not (sigma is None or (isinstance(sigma, numbers.Real) and math.isfinite(sigma))):
        raise ValueError(
            f"sigma={sigma!r} is no number; give the standard deviation in [0, 1] pixels, e.g. sigma=25/255"
        )
    if not (n_samples is None or is_whole(n_samples)):
        raise ValueError(f"n_samples={n_samples!r} is no whole number")
    if isinstance(confidence, bool) or not isinstance(confidence, numbers.Real):
        raise ValueError(f"confidence={confidence!r} is no number; give one in (0, 1)")
    if not is_whole(seed):
        raise ValueError(f"seed={seed!r} is no whole number")


def is_whole(value: Any) -> bool:
    """True is a number to Python, but was meant for another argument."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def certify_all(
    estimator: Estimator, operator: Operator, y: Tensor, certifiers: Sequence[Certifier], smoothing: Smoothing, *,
    eps: Sequence[float], x: Tensor | None = None, image_keys: ImageKeys | None = None, remember: Remember = not_kept,
) -> dict[str, Certificate]:  # fmt: skip
    """Several certifiers; see :func:`certify`. Those that smooth share one set of draws, of which
    each takes the first ones: together they cost as much as the one that needs the most.

    Args:
        smoothing: its confidence is that of each certificate, or of all radii together, as
            ``simultaneous`` says.
        remember: caches the errors and moments of the draws, from which certificates at other
            radii, confidences and quantiles follow without further draws. It has to know which
            estimator and operator they are of.
    Returns: name -> certificate with the radius axis, each with the confidence given on its own."""
    eps = as_radii(eps)
    for certifier in certifiers:
        certifier.check(own := certifier.each(smoothing, len(eps), apart=False))
        if certifier.declared.at == "cell":
            raise ValueError(f"certifier={certifier.name!r} combines certificates of others, in an evaluation")
        if x is None and certifier.needs_image:
            raise ValueError(f"certifier={certifier.name!r} compares with the clean image: give x")
        for e in eps:  # raises what the settings do not allow
            certifier.why_impossible(ratio_of(e, own.sigma if certifier.smooths else 0), own)
    found = {c.name: c.without_draws(estimator, operator, y, x, eps) for c in certifiers if not c.smooths}
    if each := {c: c.each(smoothing, len(eps), apart=False) for c in certifiers if c.smooths}:
        smoothing.check()
        with smoothed(estimator, operator, y, smoothing, x, image_keys) as (draws, shown):
            draws = prepared(replace(draws, remember=remember), each, shown, x)
            found |= {c.name: c.certify(draws, shown, x, eps, own) for c, own in each.items()}
    return found


@contextmanager
def smoothed(
    estimator: Estimator, operator: Operator, y: Tensor, smoothing: Smoothing, x: Tensor | None = None,
    image_keys: ImageKeys | None = None,
) -> Iterator[tuple[Draws, Tensor]]:  # fmt: skip
    """Smoothed reconstructions of ``y``, and f(y), without gradients, of checked arguments."""
    known = checked(estimator, operator, y, x)
    known.check_sigma(smoothing.sigma, y)
    keys = list(keys_of(len(y), image_keys))
    with torch.no_grad(), frozen(known), fastest(known, operator, y):
        shown = known.reconstruction(y)
        size = smoothing.chunk_size
        yield Draws(known, operator, y, smoothing.sigma, shown.shape[1:], smoothing.seed, keys, size), shown


def prepared(draws: Draws, each: Mapping[Certifier, Smoothing], shown: Tensor | None, x: Tensor | None) -> Draws:
    """The draws for several certifiers: compared with all their references in one pass, and kept
    if one reads them again, or several pass over them, or the memory holds them."""
    references = {name: r for c in each for name, r in c.references(shown, x).items()}
    draws, stops = replace(draws, references=references), {c: c.stops(own) for c, own in each.items()}
    ends = sorted({stop for own in stops.values() for stop in own})
    if not ends:
        return draws
    keep = any(c.rereads for c in each) or not all(stops.values()) or draws.fit(ends[-1])
    return draws.sharing(*ends) if keep else draws


def certify_threshold(
    estimator: Estimator, operator: Operator, y: Tensor, *, threshold: float, sigma: float, eps: float,
    max_samples: int, confidence: float = 0.99, q: float = 0.5, x: Tensor | None = None, seed: int = 0,
    chunk_size: int | None = None, image_keys: ImageKeys | None = None,
) -> Decision:  # fmt: skip
    """Decide, image by image, whether the q̄-quantile of the MSE to f(y), or to ``x`` if that is
    given, is at most ``threshold``, with as few draws as it takes.

    The draws are looked at when there are 1, 2, 4, … times as many as a first answer needs, at last
    ``max_samples``. The failure probability is spread over the looks
    (:func:`invsmooth.certificates.confidence.looks`): an answer is wrong with probability at most 1
    - c, whenever it comes. True certifies: for every z' within eps, at least a fraction q of the
    smoothed reconstructions has an MSE of at most ``threshold``. False says that the q̄-quantile at
    the observed signal is above it, so that no certificate of this kind exists, not that an attack
    does.

    Args: as for :func:`certify`.
    Raises: ValueError: a value outside its range."""
    smoothing = Smoothing(
        sigma=float(sigma), n_samples=max_samples, confidence=confidence, q=q, seed=seed, chunk_size=chunk_size
    )
    smoothing.check()
    radius = Radius(threshold, "discrepancy" if x is None else "error", anytime=True)
    radius.why_impossible(ratio_of(eps, sigma), smoothing)
    with smoothed(estimator, operator, y, smoothing, x, image_keys) as (draws, shown):
        return decide_threshold(draws, shown if x is None else x, threshold, eps, smoothing)
