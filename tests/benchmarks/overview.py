"""``make overview NET=FILE IMAGE=FILE``: docs/images/overview.png, smoothing on one block.

The central 33×33 block of one image, compressed sensing at ratio 0.1, a published ISTA-Net++. Above: the image, its
measurement, and three reconstructions at ``SHOWN``. Below: PSNR over eps. It takes minutes; it is no test.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from invsmooth.attacks import noise, pgd
from invsmooth.certificates import MeanCertificate, certify
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import smoothing_noise
from invsmooth.data import read_image
from invsmooth.estimators import Estimator, load_checkpoint
from invsmooth.metrics import psnr
from invsmooth.operators import BlockGaussian

SIDE, SIGMA, N_CERTIFY, N_MEAN = 33, 25 / 255, 1000, 250
EPS, SHOWN = (0.0, 0.05, 0.1, 0.15, 0.2), 0.2
OUT = Path(__file__).parents[2] / "docs" / "images" / "overview.png"


@torch.no_grad()
def smoothed_mean(net: Estimator, operator: BlockGaussian, z: Tensor) -> Tensor:
    """The mean of N_MEAN smoothed reconstructions at the signal ``z``."""
    draws = z + SIGMA * smoothing_noise(z.shape[1:], 0, N_MEAN, 1, "overview")
    return torch.cat([net(operator.A(part), operator) for part in draws.split(25)]).mean(0, keepdim=True)


def decibels(mse: Tensor) -> list[float]:
    return (-10 * mse.log10()).tolist()


def draw_curves(place: Axes, curves: dict[str, tuple[str, str, list[float]]]) -> None:
    for label, (style, colour, values) in curves.items():
        place.plot(EPS, values, style, color=colour, label=label)
    place.axvline(SHOWN, color="lightgrey", linewidth=6, zorder=0)
    place.set(xlabel="ε, l2 norm of the perturbation of the image (grey: ε of the images above)")
    place.set(ylabel="PSNR to the clean image, dB", xticks=EPS)
    place.grid(color="0.92")
    place.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, frameon=False)


def figure_of(images: dict[str, Tensor], curves: dict[str, tuple[str, str, list[float]]]) -> Figure:
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.25])  # type: ignore[misc]
    for place, (caption, image) in zip(above.subplots(1, len(images)), images.items(), strict=True):
        place.imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        place.set(xticks=[], yticks=[])
        place.set_title(caption, fontsize=9)
    draw_curves(below.subplots(), curves)
    return figure


def main(checkpoint: str, image: str, matrix: str | None = None) -> None:
    keep_memory()
    net, operator, whole = load_checkpoint(checkpoint), BlockGaussian(0.1, matrix=matrix), read_image(Path(image))
    top, left = (whole.shape[1] - SIDE) // 2, (whole.shape[2] - SIDE) // 2
    x = whole[None, :, top : top + SIDE, left : left + SIDE]
    y = operator.A(x)
    certificate = certify(net, operator, y, sigma=SIGMA, eps=EPS, n_samples=N_CERTIFY, certifier="mean", x=x)
    assert isinstance(certificate, MeanCertificate)
    found: dict[str, list[Tensor]] = {"noise": [], "attacked": [], "smoothed": []}
    for eps in EPS:
        z = x + pgd(net, operator, x, eps=eps, n_iter=20, schedule="cosine").xi
        with torch.no_grad():
            found["attacked"].append(net(operator.A(z), operator))
            found["noise"].append(net(operator.A(x + noise(net, operator, x, eps=eps, n_iter=10).xi), operator))
        found["smoothed"].append(smoothed_mean(net, operator, z))
    values = {name: [float(psnr(x_hat, x)) for x_hat in images] for name, images in found.items()}
    values["certified"] = decibels(certificate.certified_error[0])
    at = EPS.index(SHOWN)
    images = {
        "clean image x": x,
        "measured Aᵀy\n(10 % of the numbers)": operator.A_adjoint(y),
        f"reconstruction f(y)\n{values['attacked'][0]:.1f} dB": found["attacked"][0],
        f"the same, attacked\n{values['attacked'][at]:.1f} dB": found["attacked"][at],
        f"smoothed, attacked: {values['smoothed'][at]:.1f} dB\ncertified: ≥ {values['certified'][at]:.1f} dB": found[
            "smoothed"
        ][at],
    }
    curves = {
        "network, random noise of norm ε": ("+-.", "dimgrey", values["noise"]),
        "network, attack of norm ε": ("x-.", "black", values["attacked"]),
        "smoothed network, the same attack": ("o--", "#D55E00", values["smoothed"]),
        "smoothed network, certified:\nno attack of norm ε gets below": ("s-", "#D55E00", values["certified"]),
    }
    figure_of(images, curves).savefig(OUT, dpi=120, bbox_inches="tight", pad_inches=0.1)
    for name, row in values.items():
        print(name, *(f"{v:.2f}" for v in row))
    print(OUT)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:4])
