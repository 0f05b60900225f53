"""``python -m invsmooth.evaluate ckpt=PATH``: attack and certify a trained network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth import cli, schema, sweep

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline import evaluate_checkpoint

    cli.prepare_process()
    evaluate_checkpoint(cfg, Path(HydraConfig.get().runtime.output_dir))


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")(task)


def from_checkpoint(overrides: Sequence[str]) -> list[str]:
    """Overrides that take over what a checkpoint of ours was trained with (task, algorithm, the operator's matrix), but
    for the keys that ``overrides`` sets."""
    import torch

    given = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    path = Path(given.get("ckpt", "").strip("'\""))
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)["hyper_parameters"]
    except Exception:  # whatever is wrong with the file is said later, where it is loaded
        return []
    wanted = {k: v for k, v in saved["choices"].items() if v is not None}
    wanted |= {f"operator.{k}": saved["operator"][k] for k in ("seed", "block", "matrix")}
    return [f"{k}={'null' if v is None else v}" for k, v in wanted.items() if k not in given]


def main() -> None:
    sys.argv[1:] = [*from_checkpoint(sys.argv[1:]), *sys.argv[1:]]
    cli.run(app, after_error=sweep.conclude_broken)


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.evaluate import main as run_module

    run_module()
