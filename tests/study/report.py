"""Tables and figures of docs/study.md, from the committed rows alone: ``make study-report``

``python -m tests.study.report``"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from invsmooth.core.files import write_text
from invsmooth.reporting.saving import draw
from tests.study import figures, published, tables
from tests.study.claims import claims_of_tasks
from tests.study.paper import write_paper
from tests.study.rows import CLAMPED, STUDY, read

NOTES = {
    "Claims": "The rule is in `tests/study/claims.py`.",
    "Attacked and smoothed": "PSNR in dB; median draw of 24. In brackets σ: by validation images, then the best here.",
    "Attacks on the smoothed network": "The first 8 images. 10 gradients of 8 draws, on the median's error.",
    "Guarantees": "PSNR in dB. ε is that of 256×256 pixels.",
    "Proven against ord": "PSNR under attack of networks with a proven constant, minus that of `ord`, paired by image.",
    "Smoothed networks": "The first 4 images, of compressed sensing 2; S = 1000. ε is that of the crop.",
    "All certifiers": "MSE; 2 images, σ = 25, S = 1000. `radius`: the ε up to which the MSE of `error` is 0.002.",
    "The published network": "Set11, whole, m/n = 0.1, S = 50; PSNR in dB. `docs/study/published.sh`.",
    "What moves its numbers": "Means of the first images of Set11.",
    "Number of draws": "`ord`, the first 2 images; the paper's Table 4.",
}
OUT = Path(__file__).parents[2] / "docs" / "study"


def main() -> None:
    test, validation = read("test"), read("validation")
    certified, proven, whole = read("certified"), read("proven"), read("published")
    claims = claims_of_tasks(test)
    parts = {
        "Claims": tables.claims_table(claims),
        "Attacked and smoothed": tables.robustness_table(test, validation),
        "Without attack": tables.clean_table(test),
        "Seed by seed": tables.seeds_table(test),
        "Attacks on the smoothed network": tables.targets_table(read("attacked_smoothed"), test),
        "Guarantees": tables.guarantees_table(proven, test),
        "Proven against ord": tables.proven_table(proven, test),
        "Smoothed networks": tables.noise_table(certified),
        "All certifiers": tables.certifiers_table(read("certifiers")),
        "Number of draws": tables.draws_table(read("draws")),
        "The published network": published.published_table(whole),
        "What moves its numbers": published.moved_table(whole, pd.read_csv(STUDY / CLAMPED)),
        "Every cell of every claim": tables.claim_lines(claims),
    }
    notes = {name: f"{NOTES[name]}\n\n" if name in NOTES else "" for name in parts}
    text = "\n".join(f"## {name}\n\n{notes[name]}{table}" for name, table in parts.items())
    write_text(
        OUT / "tables.md",
        f"# The study: tables\n\nMade by `make study-report`. What they say: [study](../study.md).\n\n{text}",
    )
    write_paper(OUT)
    for name, make in (
        ("over_sigma", lambda: figures.over_sigma(test)),
        ("guarantees", lambda: figures.guarantees(proven, certified, test)),
        ("kept", lambda: figures.kept(certified)),
    ):
        for path in draw(make, OUT / name):
            if path.suffix == ".pdf":
                path.unlink()


if __name__ == "__main__":
    main()
