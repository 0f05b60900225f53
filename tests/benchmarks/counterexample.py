"""``make counterexample``: the figure of docs/theory.md on why the published corollary fails.

One pixel, A = 1, b = 0, sigma = eps = 1, and a network g of three ReLUs: a hat of height 1 and width 1e-3 at 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

HALF_WIDTH, OBSERVED, ATTACKED = 5e-4, 0.0, 1.0
N_DRAWS = 10**6
OUT = Path(__file__).parents[2] / "docs" / "images" / "counterexample.png"


def hat(z: np.ndarray) -> np.ndarray:
    """g, as in tests/certificates/test_certify.py."""
    relu = [np.maximum(z - 1 + shift, 0) for shift in (HALF_WIDTH, 0, -HALF_WIDTH)]
    return (relu[0] - 2 * relu[1] + relu[2]) / HALF_WIDTH


def quantiles(at: float, reference: float, q: np.ndarray) -> np.ndarray:
    """q-quantiles of (g(at + delta) - g(reference))² over delta ~ N(0, 1)."""
    delta = np.random.default_rng(0).standard_normal(N_DRAWS)
    errors = (hat(at + delta) - hat(np.array(reference))) ** 2
    return np.quantile(errors, q, method="higher")


def draw() -> Figure:
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    z = np.sort(np.concatenate([np.linspace(-3, 4, 701), ATTACKED + np.array([-HALF_WIDTH, 0, HALF_WIDTH])]))
    for centre, name, colour, style in ((OBSERVED, "z + δ", "#0072B2", "--"), (ATTACKED, "z′ + δ", "#D55E00", ":")):
        left.plot(z, norm.pdf(z, centre), style, color=colour, label=f"density of {name}")
    left.plot(z, hat(z), "-", color="black", linewidth=1.4, label="g, the network")
    left.plot([OBSERVED, ATTACKED], [0, 1], "o", color="black", markersize=5)
    left.text(OBSERVED, 0.03, "z = 0, g(z) = 0", fontsize=8, ha="center")
    left.text(ATTACKED + 0.15, 1, "z′ = 1, g(z′) = 1", fontsize=8, va="center")
    left.set(xlabel="z", title="a network that is 0 but for a narrow peak")
    q = np.linspace(0.005, 0.995, 199)
    claimed = quantiles(OBSERVED, OBSERVED, norm.cdf(norm.ppf(q) + 1))
    right.plot(q, claimed, "-", color="#0072B2", linewidth=2.2, label="claimed: q̄-quantile of (g(z+δ) − g(z))²")
    moving = quantiles(ATTACKED, ATTACKED, q)
    right.plot(q, moving, "--", color="#D55E00", linewidth=1.8, label="truth of the corollary: (g(z′+δ) − g(z′))²")
    fixed = quantiles(ATTACKED, OBSERVED, q)
    right.plot(q, fixed, ":", color="black", linewidth=1.8, label="fixed reference, as here: (g(z′+δ) − g(z))²")
    right.set(xlabel="q", ylabel="q-quantile over δ", ylim=(-0.05, 1.3), title="σ = ε = 1, q̄ = Φ(Φ⁻¹(q) + 1)")
    for axes in (left, right):
        axes.title.set_fontsize(9)
        axes.legend(fontsize=8, loc="upper left" if axes is left else "center")
    return figure


def main() -> None:
    draw().savefig(OUT, dpi=150)
    print(OUT)


if __name__ == "__main__":
    main()
