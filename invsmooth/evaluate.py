"""``python -m invsmooth.evaluate ckpt=PATH``: attack and certify a trained network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth import cli, schema, sweep
from invsmooth.errors import ConfigError

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline import evaluate_checkpoint

    cli.prepare_process()
    evaluate_checkpoint(cfg, Path(HydraConfig.get().runtime.output_dir))


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")(task)


def from_checkpoint(overrides: Sequence[str]) -> list[str]:
    """Overrides that take over what a checkpoint of ours was trained with (task, algorithm, the operator's matrix), but
    for the keys that ``overrides`` sets.

    Raises: ConfigError: a sweep over checkpoints that were trained with different ones.
    """
    given = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    ckpt = given.get("ckpt", "").strip("'\"")
    paths = [ckpt] if Path(ckpt).is_file() else ckpt.split(",")
    found = [{k: v for k, v in trained_with(Path(p)).items() if k not in given} for p in paths]
    if differing := sorted({k for f in found for k in f if any(f[k] != other.get(k) for other in found)}):
        raise ConfigError(
            f"ckpt: these checkpoints were trained with different values of {', '.join(differing)}, which the rows have to "
            "say; evaluate them with a command each"
        )
    return [f"{k}={'null' if v is None else v}" for k, v in found[0].items()]


def trained_with(path: Path) -> dict[str, Any]:
    """The keys to take over from a checkpoint, with their values; none from one that is not ours."""
    import torch

    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)["hyper_parameters"]
    except Exception:  # whatever is wrong with the file is said later, where it is loaded
        return {}
    wanted = {k: v for k, v in saved["choices"].items() if v is not None}
    return wanted | {f"operator.{k}": saved["operator"][k] for k in ("seed", "block", "matrix")}


def main() -> None:
    arguments = sys.argv[1:]
    # Beside the other overrides: Hydra takes none after an option that comes after them.
    first = next((i for i, a in enumerate(arguments) if "=" in a and not a.startswith("-")), len(arguments))
    try:
        sys.argv[1:] = [*arguments[:first], *from_checkpoint(arguments), *arguments[first:]]
    except ConfigError as error:
        sys.exit(cli.fail(error))
    cli.run(app, after_error=sweep.conclude_broken)


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.evaluate import main as run_module

    run_module()
