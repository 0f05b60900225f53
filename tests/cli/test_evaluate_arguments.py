"""What ``invsmooth.evaluate`` adds to its command line before Hydra reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from invsmooth import cli, evaluate


def checkpoint(folder: Path, name: str, algo: str = "adv", seed: int = 3) -> Path:
    saved = {"choices": {"task": "cs", "algo": algo}, "operator": {"seed": seed, "block": 33, "matrix": None}}
    torch.save({"hyper_parameters": saved}, folder / name)
    return folder / name


TAKEN = ["task=cs", "algo=adv", "operator.seed=3", "operator.block=33", "operator.matrix=null"]


@pytest.mark.parametrize(
    ("flags", "more"),
    [([], []), (["--multirun"], ["attack.eps=0,1"]), (["-m", "--config-dir", "x"], []), (["--cfg", "job"], [])],
)
def test_overrides_stand_together_after_the_options(
    tmp_path: Path, monkeypatch, flags: list[str], more: list[str]
) -> None:
    """Else Hydra refuses them; and what the user says comes last, and counts."""
    path = checkpoint(tmp_path, "a.ckpt")
    monkeypatch.setattr(sys, "argv", ["evaluate", *flags, f"ckpt={path}", *more])
    monkeypatch.setattr(cli, "run", lambda *args, **options: None)
    evaluate.main()
    assert sys.argv == ["evaluate", *flags, *TAKEN, f"ckpt={path}", *more]


def test_what_the_user_sets_is_not_taken_over(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "a.ckpt")
    taken = evaluate.from_checkpoint([f"ckpt='{path}'", "task=denoise", "operator.seed=1"])
    assert taken == ["algo=adv", "operator.block=33", "operator.matrix=null"]
    assert evaluate.from_checkpoint(["ckpt=nothing.ckpt"]) == []
    assert evaluate.from_checkpoint([]) == []


def test_a_sweep_over_checkpoints_that_are_alike(tmp_path: Path, monkeypatch, capsys) -> None:
    alike = [checkpoint(tmp_path, name) for name in ("a.ckpt", "b.ckpt")]
    assert evaluate.from_checkpoint([f"ckpt={alike[0]},{alike[1]}"]) == TAKEN
    other = checkpoint(tmp_path, "c.ckpt", algo="ord", seed=4)
    assert evaluate.from_checkpoint([f"ckpt={alike[0]},{other}", "algo=ord", "operator.seed=4"])[0] == "task=cs"
    monkeypatch.setattr(sys, "argv", ["evaluate", "--multirun", f"ckpt={alike[0]},{other}"])
    with pytest.raises(SystemExit) as end:
        evaluate.main()
    assert end.value.code == 2
    assert "different values of algo, operator.seed" in capsys.readouterr().err
