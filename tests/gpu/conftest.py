"""Every test that takes ``device`` runs twice: on the CPU in the default suite, on a GPU with ``-m gpu`` (``make gpu``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch

from invsmooth.core.devices import set_tf32

NO_GPU = "torch sees no CUDA device here; make gpu runs this on a machine that has one"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(NO_GPU)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Without TF32, so that the numbers are those of a CPU to rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    set_tf32(False)
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
