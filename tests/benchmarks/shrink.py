"""``python -m tests.benchmarks.shrink RUN/checkpoints/best.ckpt docs/models/NAME.ckpt``: weights for docs/models.

Keeps the weights and what describes the network. Large matrices are rounded to half precision. Their norm is computed
from the rounded weights wherever it is needed, so a constant stays a proof."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

LARGE = 50_000  # numbers of a weight that is rounded


def shrunk(content: dict[str, Any]) -> dict[str, Any]:
    state = {k: v.half() if v.numel() > LARGE else v for k, v in content["state_dict"].items()}
    about = content["hyper_parameters"]
    operator = about["operator"]
    if operator.get("matrix"):  # the folder is of no use to others; the matrix is known by its SHA-256
        operator = operator | {"matrix": Path(operator["matrix"]).name}
    return {"state_dict": state, "hyper_parameters": about | {"operator": operator}}


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    torch.save(shrunk(torch.load(source, map_location="cpu", weights_only=True)), target)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
