"""Names of any kind: of image files, of figures, of run folders."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from invsmooth.core.errors import ConfigError
from invsmooth.pipeline.folder_name import check_folder_name
from invsmooth.records.pictures import picture_file, setting_name
from invsmooth.report import find_runs
from invsmooth.reporting import report
from invsmooth.reporting.figures.visual import visual_figure
from invsmooth.reporting.saved_pictures import with_pictures
from invsmooth.reporting.saving import draw
from tests.reporting.declared import DECLARED
from tests.reporting.made import row, stored

NAMES = (
    "a b, c=d [e] {f}.png", "$\\frac$.png", "$x_1^.png", "[bold]m[/bold].png", "a|b.png", "<script>alert(1)</script>.png",
    "a&b_%#~.png", "像" * 80 + ".png", "x" * 236 + ".png", "esc\\x1b[31m.png",
)  # fmt: skip


def test_files_have_short_names_of_their_own() -> None:
    names = [*NAMES, "a/b.png", "a_b.png", "x" * 235 + "y.png", "像" * 79 + "好.png", "bad\udcff.png"]
    files = [picture_file(Path("run"), name, 0.1, 12.345, 0.25, 25.0).name for name in names]
    assert len({f.lower() for f in files}) == len(names)
    # A temporary file beside it has the first 100 characters and 25 more.
    assert all(len(f.encode()) <= 200 and len(f[:100].encode()) <= 220 for f in files)
    assert all(re.fullmatch(r"[\w.-]+", f) for f in files)
    assert setting_name("chelsea.png", 0.5, 5) == "chelsea.png_ratio0.5_b5"  # as it always was


@pytest.mark.parametrize("name", NAMES)
def test_figures_show_names_as_they_are(tmp_path: Path, name: str) -> None:
    """Though the user's settings say that all text is LaTeX, and the font lacks characters."""
    rows = stored(tmp_path, row(image=name))
    arrays = np.full((8, 8), 128, np.uint8)
    path = picture_file(tmp_path, name, 0.1, 0.0, 0.1, 25.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, clean=arrays, measured=arrays, reconstructed=arrays, attacked=arrays)
    shown = with_pictures(rows)
    assert len(shown) == 1
    with mpl.rc_context({"text.usetex": True}):
        written = draw(lambda: visual_figure(shown, DECLARED), tmp_path / "figure")
    assert all(path.stat().st_size > 1000 for path in written)


def test_a_run_folder_of_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Others may have made it; nothing of it reaches the terminal as it is."""
    folders = [tmp_path / name for name in ("br[1]", "br1", "a b,c=d $x$ <b>|", "new\nline\x1b[31m")]
    for k, folder in enumerate(folders):
        stored(folder, row(run_id=str(k)))
    assert find_runs([str(folders[0])]) == [folders[0]]
    assert find_runs([str(tmp_path / "br*")]) == sorted(folders[:2])
    out = tmp_path / "out\x1b[31m"
    report(folders, out)
    said = capsys.readouterr().out
    assert "out\\x1b[31m/table.md" in said
    assert said.replace("\n", "").isprintable()
    assert "\x1b" not in (out / "index.html").read_text()
    assert "\x1b" not in (out / "table.md").read_text()


def test_run_folders_of_ours(tmp_path: Path) -> None:
    for name in ("br[1]", "a b,c=d $x$ <b>|'\"", "像" * 80, "u\u3000v", "naïve"):
        check_folder_name(tmp_path / name)
    for name in ("new\nline", "esc\x1b[31m", "\u202eright", "bad\udcff"):
        with pytest.raises(ConfigError, match=r"1 characters that do not print, or no UTF-8 \(\\") as error:
            check_folder_name(tmp_path / name / "run")
        assert str(error.value).isprintable()
