"""Tests that need deepinv begin with this import. Without deepinv they are skipped."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("deepinv") is None:
    pytest.skip("deepinv is not installed here: make test-deepinv", allow_module_level=True)
