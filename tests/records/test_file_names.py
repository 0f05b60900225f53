"""Files of images whose names differ only in case or Unicode normalisation do not overwrite each other, on any system."""

from __future__ import annotations

import itertools
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from invsmooth.evaluation.certified import Violation
from invsmooth.records.pictures import picture_file, setting_name
from invsmooth.reporting.saved_pictures import picture_of, read, with_pictures
from tests.certificate_files.made import make
from tests.reporting.made import row, stored

SAME = (
    ("a.png", "A.png", "a.PNG", "A.PNG"),
    ("\u00e9.png", "e\u0301.png", "\u00c9.png", "E\u0301.png"),  # é as one character and as two
    ("\uac00.png", "\u1100\u1161.png"),  # a Korean syllable and its two letters
    ("\u8c48.png", "\uf900.png"),  # a character and its compatibility twin
    ("\u03a9.png", "\u2126.png", "\u03c9.png"),  # Greek omega, the sign of the ohm
    ("k.png", "K.png", "\u212a.png"),  # the sign of the kelvin
    ("\u00e5.png", "\u212b.png", "a\u030a.png"),  # the sign of the ångström
    ("\u03c3.png", "\u03c2.png", "\u03a3.png"),  # sigma within a word and at its end
    ("ss.png", "\u00df.png", "\u1e9e.png", "SS.png"),
    ("i.png", "I.png", "\u0131.png"),  # without its dot
    ("fi.png", "\ufb01.png"),
    ("A" * 120, "a" * 120, "A" * 119 + "a"),
)
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def taken_for(name: str) -> set[str]:
    """What file systems may make of a name: any of these may be the same for two names of SAME."""
    normal = [unicodedata.normalize(form, name) for form in FORMS]
    return {
        unicodedata.normalize(form, case(n))
        for n in normal
        for form in FORMS
        for case in (str.lower, str.upper, str.casefold)
    }


@pytest.mark.parametrize("names", SAME, ids=lambda names: ascii(names[0][:10]))
def test_names_differ_on_every_file_system(names: tuple[str, ...]) -> None:
    for a, b in itertools.combinations(names, 2):
        assert taken_for(setting_name(a, 0.5, 5)).isdisjoint(taken_for(setting_name(b, 0.5, 5)))
        # So that this is about something: without the name's own hash they are the same somewhere.
        assert not taken_for(a).isdisjoint(taken_for(b))


def test_usual_names_stay() -> None:
    for name in ("chelsea", "chelsea.png", "test001.png", "été.png", "像.png", "имя.tif", "n-1_b.2"):
        assert setting_name(name, 0.5, 5) == f"{name}_ratio0.5_b5"
    assert re.fullmatch(r"Monarch\.tif-[0-9a-f]{8}_ratio0.5_b5", setting_name("Monarch.tif", 0.5, 5))
    assert setting_name("Monarch.tif", 0.5, 5, earlier=True) == "Monarch.tif_ratio0.5_b5"


def test_pictures_certificates_and_violations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for some in SAME for name in some]
    monkeypatch.setattr("tests.certificate_files.made.NAMES", ["A.png", "a.png"])
    files = [path.name for path in make(tmp_path, "error")]
    assert len({name.lower() for name in files}) == 2
    cell: dict[str, Any] = {"ratio": 0.5, "sigma_b": 5.0}
    pictures = [picture_file(tmp_path, name, 0.5, 5.0, 0.1, 25.0).name for name in names]
    violations = [Violation(cell | {"image": name}, "", {}).save(tmp_path, 0).name for name in names]
    for written in (pictures, violations):
        assert len({unicodedata.normalize("NFC", name).lower() for name in written}) == len(names)


def test_pictures_of_earlier_versions_are_found(tmp_path: Path) -> None:
    """With their own case only: where both names are one file, A.png must not show the pictures of a.png."""
    rows = stored(tmp_path, row(image="A.png"), row(image="a.png"), row(image="B.png"))
    for name, level in (("A.png", 1), ("a.png", 2)):
        path = picture_file(tmp_path, name, 0.1, 0.0, 0.1, 25.0, earlier=True)
        path.parent.mkdir(exist_ok=True)
        np.savez(path, clean=np.full((8, 8), level, np.uint8))
    kept = with_pictures(rows)
    assert list(kept["image"]) == ["A.png", "a.png"]
    assert [int(read(picture_of(line))["clean"][0, 0]) for _, line in kept.iterrows()] == [1, 2]
    now = picture_file(tmp_path, "A.png", 0.1, 0.0, 0.1, 25.0)
    np.savez(now, clean=np.full((8, 8), 3, np.uint8))
    assert picture_of(kept.iloc[0]) == now
    assert not len(with_pictures(pd.DataFrame(rows[rows["image"] == "B.png"])))
