"""What a smoothed network gains where the noisy image x + ξ + δ is clamped to [0, 1] before it is measured, as the paper's
released code does. A decoder has no x to clamp: no certificate follows, and no command of ours does so.

    ``python -m tests.study.clamped FOLDER``  (of the data sets; some minutes on one core)"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invsmooth import BlockGaussian, load_checkpoint, pgd, psnr
from invsmooth.core.files import write_text
from invsmooth.core.rng import smoothing_noise
from invsmooth.data import image_files, read_image
from tests.study.rows import CLAMPED

CELLS = ((5, 21), (7, 35))  # ε, and the paper's σ for it
N_IMAGES, N_SAMPLES, BATCH = 2, 12, 4


def median_psnr(net: torch.nn.Module, operator: BlockGaussian, x: Tensor, noisy: Tensor) -> float:
    """Of the reconstructions of noisy images, one channel: (S, 1, H, W)."""
    with torch.no_grad():
        found = [psnr(net(operator.A(part), operator), x.expand_as(part)) for part in noisy.split(BATCH)]
    return float(torch.cat(found).median())


def main(data: Path) -> None:
    net = load_checkpoint(data / "weights" / "istanetpp_paper_ord_100.pkl").to(memory_format=torch.channels_last)
    operator = BlockGaussian(0.1, matrix=data / "matrices" / "phi_0_10_1089.mat")
    lines = []
    for name, found in list(image_files(data / "set11").items())[:N_IMAGES]:
        x = read_image(found.path)[None]
        for eps, sigma in CELLS:
            attacked = x + pgd(net, operator, x, eps=eps, n_iter=20).xi
            noisy = attacked + sigma / 255 * smoothing_noise(x.shape[1:], 0, N_SAMPLES, 0, 0)
            both = [median_psnr(net, operator, x, n) for n in (noisy, noisy.clamp(0, 1))]
            lines.append([name, eps, sigma, *both])
            print(*lines[-1], flush=True)  # noqa: T201
    table = pd.DataFrame(lines, columns=["image", "eps", "sigma", "psnr_median", "psnr_median_clamped"])
    write_text(Path("outputs/study_work") / CLAMPED, table.to_csv(index=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
