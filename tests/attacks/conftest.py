from __future__ import annotations

import pytest

from tests.attacks.oracles import Linear


@pytest.fixture
def problem() -> Linear:
    return Linear()
