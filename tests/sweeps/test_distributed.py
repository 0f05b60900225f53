"""Several processes evaluate together: every image once, one table, and an error of one of them is the run's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.core.errors import CertificateViolation
from invsmooth.core.shards import ALL, Shard
from invsmooth.evaluation.run import Part, merge_rows, pooled, raise_errors
from invsmooth.records.rows import write_rows
from tests.reporting.declared import DECLARED
from tests.reporting.made import row
from tests.sweeps.sweeping import comparable, run

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 5, 6])
def test_shares_are_all_images_once(n: int, world: int) -> None:
    shares = [list(Shard(rank, world).numbers(n)) for rank in range(world)]
    assert sorted(k for share in shares for k in share) == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for rank, share in enumerate(shares):
        assert [Shard(rank, world).number(k) for k in range(len(share))] == share


def test_only_one_process_writes_under_the_files_own_name() -> None:
    assert ALL.file("results.parquet") == "results.parquet"
    assert [Shard(rank, 2).file("results.parquet") for rank in (0, 1)] == [
        "results.rank0.parquet",
        "results.rank1.parquet",
    ]


def test_merged_rows_are_in_the_order_of_one_process(tmp_path: Path) -> None:
    settings, images = [(0.3, 0.0), (0.1, 5.0)], ["c", "a", "b"]
    cells = [(s, i, eps) for s in settings for i in images for eps in (0.5, 0.0)]
    made = [row(ratio=s[0], sigma_b=s[1], image=i, eps=eps) for s, i, eps in cells]
    for rank in range(2):
        mine = [images[k] for k in Shard(rank, 2).numbers(3)]
        write_rows(tmp_path / Shard(rank, 2).file("results.parquet"), [r for r in made if r["image"] in mine], DECLARED)
    # A third process had no image, and wrote nothing.
    merge_rows(tmp_path, 3, settings, images)
    write_rows(tmp_path / "expected.parquet", made, DECLARED)
    merged, expected = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("results", "expected"))
    pd.testing.assert_frame_equal(merged, expected)
    assert not list(tmp_path.glob("*rank*"))


def test_counts_of_all_processes_are_added() -> None:
    assert pooled([Part({"a": 3}), Part({"a": 1, "b": 2}), Part()]) == {"a": 4, "b": 2}


def test_errors_of_all_processes_are_told() -> None:
    fine, refuted, bug = Part({"a": 1}), Part({}, "refuted", violation=True), Part({}, "bug")
    raise_errors([fine, fine])
    with pytest.raises(CertificateViolation, match="process 1: refuted\nprocess 2: refuted"):
        raise_errors([fine, refuted, refuted])
    with pytest.raises(RuntimeError, match="process 0: bug\nprocess 1: refuted") as error:
        raise_errors([bug, refuted])
    assert not isinstance(error.value, CertificateViolation)


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(tmp_path: Path) -> None:
    """With an odd number of images, after a training and from a checkpoint, with pictures and certificate files."""
    grid = ["data.limit=3", "task=cs_small", "certify=mean", "certify.sigma=[12,25]", "attack.eps=[0,0.1]",
            "attack.n_iter=2", "certify.pictures=2", "report=false"]  # fmt: skip
    run(tmp_path, *grid, *TWO, "+estimator.fate=lives", "hydra.run.dir=trained", "cache=kept", code=0,
        several=True)  # fmt: skip
    checkpoint = "ckpt=trained/checkpoints/best.ckpt"
    # What several processes kept, one takes over.
    for folder, several in (("one", []), ("two", [*TWO, "cache=cells"]), ("again", ["cache=cells"])):
        run(tmp_path, *grid, *several, checkpoint, f"hydra.run.dir={folder}", "+estimator.fate=lives",
            module="evaluate", code=0, several=folder == "two")  # fmt: skip
    one = comparable(tmp_path / "one")
    assert len(one) == 3 * 2 * 2 * 2  # images × ratios × sigma × eps
    for folder in ("trained", "two", "again"):
        pd.testing.assert_frame_equal(comparable(tmp_path / folder), one, check_exact=True)
        kept = [{p.name for p in (tmp_path / f).glob(pattern)} for f in ("one", folder)
                for pattern in ("pictures/*", "certificates/*")]  # fmt: skip
        assert kept[:2] == kept[2:]
        assert len(kept[0]) == 2 * 2 * 2 * 2
    counts = [json.loads((tmp_path / folder / "run.json").read_text())["cells"] for folder in ("two", "again")]
    assert counts[0]["cells computed"] == 3 * 2  # of both processes
    assert counts[1] == {"cells cached": 3 * 2}


@pytest.mark.slow
def test_a_certificate_that_one_process_refutes_fails_the_run(tmp_path: Path) -> None:
    """Without hanging, and with the rows of the others."""
    done = run(tmp_path, *TWO, "data.limit=3", "+estimator.fate=refuted", "hydra.run.dir=run", code=1, several=True)
    assert "CertificateViolation: process 1: CertificateViolation: certificate refuted" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert list(comparable(tmp_path / "run")["image"]) == ["chelsea", "camera"]
