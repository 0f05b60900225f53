"""Several certifiers by name in one call, with their settings as keywords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates import Certificate, Smoothing, certify
from invsmooth.certificates import certify_all as certify_together
from invsmooth.certificates.by_name import as_certifier

PARAMETERS = ("threshold", "radius_of", "n_centre", "n_pred")


def certify_all(
    estimator: Any, operator: Any, y: Any, *, certifiers: Sequence[str], sigma: float, eps: Sequence[float], x: Any = None,
    image_keys: Any = None, remember: Remember = not_kept, **settings: Any,
) -> dict[str, Certificate]:  # fmt: skip
    """settings: of Smoothing, and parameters of certifiers."""
    given = {name: settings.pop(name) for name in PARAMETERS if name in settings}
    chosen = [as_certifier(name, given) for name in certifiers]
    return certify_together(
        estimator, operator, y, chosen, Smoothing(sigma=sigma, **settings), eps=eps, x=x, image_keys=image_keys,
        remember=remember,
    )  # fmt: skip


def certify_any(*of: Any, certifier: str, **settings: Any) -> Certificate:
    """settings: of ``certify``, and parameters of certifiers, of which this one takes its own."""
    given = {name: settings.pop(name) for name in PARAMETERS if name in settings}
    return certify(*of, certifier=as_certifier(certifier, given), **settings)
