"""A figure that does not fit on the disk leaves nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from invsmooth.reporting import saving


def test_a_figure_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(figure: Figure, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "as_png", full)
    with pytest.raises(OSError, match="No space left"):
        saving.save(Figure(), tmp_path / "a")
    assert not [*tmp_path.iterdir()]
