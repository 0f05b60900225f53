"""Tables and figures of docs/study.md, from the committed rows alone: ``make study-report``

``python -m tests.study.report``"""

from __future__ import annotations

from pathlib import Path

from invsmooth.core.files import write_text
from invsmooth.reporting.saving import draw
from tests.study import figures, tables
from tests.study.claims import all_claims
from tests.study.rows import read

OUT = Path(__file__).parents[2] / "docs" / "study"


def main() -> None:
    test, validation = read("test"), read("validation")
    certified, proven = read("certified"), read("proven")
    claims = all_claims(test)
    parts = {
        "Claims": tables.claims_table(claims),
        "Attacked and smoothed": tables.robustness_table(test, validation),
        "Without attack": tables.clean_table(test),
        "Attacks on the smoothed network": tables.targets_table(read("attacked_smoothed"), test),
        "Guarantees": tables.guarantees_table(proven, test),
        "Smoothed networks": tables.noise_table(certified),
        "Number of draws": tables.draws_table(read("draws")),
        "Every cell of every claim": tables.claim_lines(claims),
    }
    text = "\n".join(f"## {name}\n\n{table}" for name, table in parts.items())
    write_text(
        OUT / "tables.md",
        f"# The study: tables\n\nMade by `make study-report`. What they say: [study](../study.md).\n\n{text}",
    )
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
