from __future__ import annotations

import sys

import pytest

from tests.attacks.oracles import Linear


@pytest.fixture
def problem() -> Linear:
    return Linear()


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracles compute in float32. Where bfloat16 is faster, an attack would search in it."""
    monkeypatch.setattr(sys.modules["invsmooth.attacks.attack"], "bf16_pays", lambda *_: False)
