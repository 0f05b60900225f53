"""``make test-ray`` runs this in an environment of its own: Ray's launcher wants an older cloudpickle than joblib does."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.sweeping import check_sweep

pytestmark = pytest.mark.skipif(
    find_spec("ray") is None, reason="the ray launcher is not installed here: make test-ray"
)


@pytest.mark.slow
def test_jobs_on_ray(tmp_path: Path, alone: pd.DataFrame) -> None:
    check_sweep(tmp_path, "ray", alone)
