from __future__ import annotations

import pandas as pd
import pytest

from tests.sweeps.sweeping import ONE_JOB, comparable, run


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of the sweeps' one job that lives, run without a sweep."""
    folder = tmp_path_factory.mktemp("alone")
    run(folder, *ONE_JOB, "+estimator.fate=lives", "hydra.run.dir=run", code=0)
    return comparable(folder / "run")
