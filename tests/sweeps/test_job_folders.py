"""No two runs in one folder, and names that tell jobs apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import invsmooth
from invsmooth.config import schema
from invsmooth.config.job_folder import LONGEST_LABEL, job_label

STARTS = """if True:
    import datetime, os, sys
    import hydra.core.utils
    from omegaconf import OmegaConf
    from invsmooth.config import schema

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2030, 1, 1)

    hydra.core.utils.datetime = Frozen
    hydra.core.utils.setup_globals()
    schema.register()
    sections = [OmegaConf.to_container(OmegaConf.load(path))["hydra"] for path in sys.argv[1:]]
    folders = [section[mode]["dir"] for section in sections for mode in ("run", "sweep") if mode in section]
    for _ in range(100):
        for folder in folders:
            cfg = OmegaConf.create({"task": {"name": "cs"}, "algo": {"name": "ord"}, "dir": folder})
            print(cfg.dir)
            assert cfg.dir == cfg.dir  # the jobs of a sweep see one folder
"""
"""Prints the folders of 100 trainings, sweeps and evaluations that start at the same time."""


def test_starts_in_the_same_microsecond_get_folders_of_their_own() -> None:
    conf = Path(invsmooth.__file__).parent / "conf"
    command = [sys.executable, "-c", STARTS, str(conf / "train.yaml"), str(conf / "evaluate.yaml")]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = [line for start in starts for line in start.communicate(timeout=120)[0].split()]
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert len(folders) == len(set(folders)) == 3 * 300
    assert len({folder.rsplit("-", 1)[0] for folder in folders}) == 3  # but for the token they are the same


def test_a_copied_config_keeps_its_folder() -> None:
    """As Hydra copies what a sweep's config has resolved to that of each job."""
    schema.register()
    sweep, job = (OmegaConf.create({"dir": "sweeps/${token:}"}) for _ in range(2))
    assert sweep.dir != job.dir
    OmegaConf.copy_cache(sweep, job)
    assert sweep.dir == job.dir


@pytest.mark.parametrize(
    ("swept", "job", "label"),
    [
        (["seed=0,1", "report=false"], ["seed=1", "report=false"], "_seed-1"),
        (["task=cs,denoise", "algo=adv,ord"], ["task=cs", "algo=adv"], ""),
        (
            ["attack.eps=0.1,0.2", "data/test=set11,bsd68"],
            ["attack.eps=0.2", "data/test=set11"],
            "_eps-0.2_data-test-set11",
        ),
        (["attack.eps=[0,1],[0,2]"], ["attack.eps=[0,2]"], "_eps-0-2"),
        (["+estimator.width=range(8,10)"], ["+estimator.width=8"], "_width-8"),
        (["ckpt='a/b c.ckpt','d=e.ckpt'"], ["ckpt='d=e.ckpt'"], "_ckpt-d-e.ckpt"),
        (["a.b=1,2", f"c={'x' * 200},y"], ["a.b=1", f"c={'x' * 200}"], ("_b-1_c-" + "x" * 200)[:LONGEST_LABEL]),
        (["seed=0"], ["seed=0"], ""),
    ],
)
def test_a_job_is_named_by_what_is_swept(swept: list[str], job: list[str], label: str, tmp_path: Path) -> None:
    config = {"hydra": {"sweeper": {"params": None}, "overrides": {"task": swept}}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "multirun.yaml")
    assert job_label(str(tmp_path), job) == label


def test_what_a_config_sweeps_is_in_the_name_too(tmp_path: Path) -> None:
    config = {"hydra": {"sweeper": {"params": {"seed": "range(3)"}}, "overrides": {"task": []}}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "multirun.yaml")
    assert job_label(str(tmp_path), ["seed=2"]) == "_seed-2"


def test_another_sweeper_leaves_the_number(tmp_path: Path) -> None:
    assert job_label(str(tmp_path), ["seed=2"]) == ""
