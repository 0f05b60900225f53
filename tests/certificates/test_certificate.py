"""What a certificate says of itself: settings, a short repr, a table, files, a figure."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from invsmooth.certificates import Certificate, certify
from invsmooth.estimators import Ridge
from invsmooth.operators import Identity

X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def made(certifier: str = "discrepancy", **options: object) -> Certificate:
    given = {"sigma": 0.1, "n_samples": 100, "eps": [0.05, 0.1, 3.0], "seed": 7} | options
    return certify(Ridge(0.1), Identity(), X, certifier=certifier, x=X, **given)  # type: ignore[arg-type]


def test_it_knows_its_settings() -> None:
    certificate = made(confidence=0.95, q=0.6)
    settings = certificate.settings
    assert settings is not None
    assert (settings.certifier, settings.eps, settings.sigma, settings.n_samples) == (
        "discrepancy",
        (0.05, 0.1, 3.0),
        0.1,
        100,
    )
    assert (settings.confidence, settings.q, settings.simultaneous, settings.seed) == (0.95, 0.6, "none", 7)
    alone = made(eps=0.1).settings
    assert alone is not None
    assert alone.eps == (0.1,)
    sure = made("lipschitz", sigma=None, n_samples=None).settings
    assert sure is not None
    assert (sure.sigma, sure.confidence, str(sure)) == (None, 1.0, "lipschitz, threat=signal at eps = 0.05, 0.1, 3")


def test_repr_is_one_line_with_the_bounds() -> None:
    certificate = made()
    said = repr(certificate)
    first = float(certificate.bound[0, 0])
    assert said.startswith(
        "<Certificate: discrepancy at eps = 0.05, 0.1, 3, sigma = 0.1, S = 100, confidence 0.99; bound"
    )
    assert f"first of 2 images) = {first:.3g}," in said
    assert said.endswith(", none>")
    assert re.search(r"= none \(no certificate: eps/sigma = 30 is above .*\)>$", repr(made(eps=3.0)))
    assert "\n" not in said
    assert repr(made("mean", eps=0.1)).startswith("<MeanCertificate: mean at eps = 0.1,")


def test_table_has_a_line_for_each_image_and_radius(tmp_path: Path) -> None:
    certificate = made()
    frame = certificate.to_frame()
    assert frame["image"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["eps"].tolist() == [0.05, 0.1, 3.0] * 2
    np.testing.assert_allclose(frame["bound"].to_numpy(), certificate.bound.flatten().numpy())
    assert frame["bound_psnr"][0] == pytest.approx(-10 * math.log10(float(certificate.bound[0, 0])))
    assert frame["reason"][2] == certificate.reason[0, 2] != ""
    assert frame["k_index"][1] == certificate.k_index[0, 1]
    assert set(frame["n_samples"]) == {100}
    assert "reconstruction_median" not in frame
    assert len(made(eps=0.1).to_frame()) == 2
    assert "chi_square" in made("mean").to_frame()
    assert (made("lipschitz", sigma=None, n_samples=None).to_frame()["certified_error"] > 0).all()
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        saved = read(certificate.save(tmp_path / name))
        np.testing.assert_allclose(saved["bound"].to_numpy(), frame["bound"].to_numpy())
    with pytest.raises(ValueError, match=r"\.csv or \.parquet"):
        certificate.save(tmp_path / "a.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


def test_figure_has_a_line_for_each_image() -> None:
    certificate = made()
    figure = certificate.plot()
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]  # what a notebook asks for
    lines = figure.axes[0].lines
    assert len(lines) == 2
    np.testing.assert_allclose(lines[1].get_ydata(), certificate.bound[1].numpy())


def test_the_threat_is_said_and_cannot_be_given_to_others() -> None:
    """A certificate for attacks on the signal, given out as one for attacks on the measurement, would be false."""
    certificate = made("lipschitz", sigma=None, n_samples=None, threat="measurement")
    assert "threat=measurement" in repr(certificate)
    assert set(certificate.to_frame()["threat"]) == {"measurement"}
    for certifier, given in (("mean", {"threat": "measurement"}), ("discrepancy", {"threshold": 0.1})):
        with pytest.raises(ValueError, match=f"certifier='{certifier}' has no use for"):
            made(certifier, **given)


@pytest.mark.parametrize(("given", "message"), [
    ({"eps": "0.1"}, "eps='0.1' is no number"), ({"eps": ["0.1"]}, "is no number"),
    ({"sigma": "25"}, "sigma='25' is no number"),
    ({"n_samples": 50.0}, "n_samples=50.0 is no whole number"),
    ({"eps": []}, "eps=[] is no number"), ({"eps": None}, "eps=None is no number"), ({"eps": [[0.1]]}, "is no number"),
    ({"sigma": math.inf}, "sigma=inf is no number"), ({"confidence": None}, "confidence=None is no number"),
    ({"seed": 1.5}, "seed=1.5 is no whole number"), ({"seed": None}, "seed=None is no whole number"),
])  # fmt: skip
def test_what_is_no_number_is_refused(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        made(**given)
