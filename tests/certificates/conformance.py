"""What every certifier has to pass. One joins by a class of one line::

    class TestMine(CertifierConformance):
        certifier = Mine(threshold=0.1)

The network is f(y) = y with A = I, on images of four pixels: the draws are normal numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from invsmooth.certificates import Certificate, Certifier, Smoothing, certify_all
from invsmooth.certificates.floor import COLUMNS
from invsmooth.certificates.order_statistics import ratio_of
from invsmooth.checks.truth import Attacked
from invsmooth.core.units import Units, to_grey_levels
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from invsmooth.records.certificate_files import fields
from invsmooth.records.certificate_files.arithmetic import differences, expected
from invsmooth.records.certificate_files.parts import own_fields
from invsmooth.records.certificate_files.record import certificate_record

EPS = [0.0, 0.03, 0.06, 0.1, 5.0]
KINDS = {"real": float, "whole": int, "flag": bool, "text": str}


class Copy(MatchedFilter):
    """f(y) = y where A = I, with its constant."""

    def lipschitz(self, operator: Identity) -> float:
        return operator.norm()


class CertifierConformance:
    """Attributes: certifier: to check, with parameters that give bounds here. smoothing: its settings."""

    certifier: Certifier
    smoothing = Smoothing(sigma=0.1, n_samples=60, confidence=0.6, seed=2)

    @property
    def each(self) -> Smoothing:
        return self.certifier.each(self.smoothing, len(EPS), apart=False)

    def images(self, count: int) -> Tensor:
        return torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(1))

    def certify(self, count: int = 3, eps: list[float] = EPS, **changes: Any) -> Certificate:
        x = self.images(count)
        smoothing = Smoothing(**{**vars(self.smoothing), **changes})
        found = certify_all(Copy(), Identity(), x + 0.02, [self.certifier], smoothing, eps=eps, x=x)
        return found[self.certifier.name]

    # What it says of itself.

    def test_parameters_are_stored_under_their_names(self) -> None:
        again = type(self.certifier)(**self.certifier.parameters)
        assert again.parameters == self.certifier.parameters

    def test_declaration(self) -> None:
        declared = self.certifier.declared
        assert declared.name == self.certifier.name
        names = [column.name for column in declared.columns]
        assert len(names) == len(set(names))
        assert {declared.column, *declared.curves.values()} <= {"bound", *names}
        assert set(declared.truth_in) <= set(declared.curves)
        assert all(column.kind in KINDS and column.meaning for column in declared.columns)
        assert declared.at in ("clean", "attacked")
        assert declared.short.format(0.5)

    def test_rows_have_the_declared_columns(self) -> None:
        row = self.certifier.row(self.certify().at(1), 0, Units.matched)
        later = {column.name for column in COLUMNS}  # of the floor, which is no part of a certificate
        columns = [column for column in self.certifier.declared.columns if column.name not in later]
        assert {name: type(value) for name, value in row.items()} == {c.name: KINDS[c.kind] for c in columns}

    def test_draws(self) -> None:
        stops = self.certifier.stops(self.each)
        assert list(stops) == sorted(set(stops))
        assert all(0 < stop <= self.certifier.n_draws(self.each) for stop in stops)
        assert 1 <= self.certifier.n_rerun({"n_samples": 60, "radii": [{"n_drawn": 9}]}) <= 60

    # Its bounds.

    def test_bounds_grow_in_eps(self) -> None:
        found = self.certify()
        assert found.bound.isfinite().any()
        bounds = found.bound.nan_to_num(torch.inf)  # none is above all others
        assert (bounds[:, 1:] >= bounds[:, :-1] * (1 - 1e-9)).all()

    @pytest.mark.parametrize("chunk_size", [1, 7])
    def test_chunks_do_not_matter(self, chunk_size: int) -> None:
        whole, found = self.certify(), self.certify(chunk_size=chunk_size)
        torch.testing.assert_close(found.bound, whole.bound, rtol=1e-4, atol=1e-9, equal_nan=True)
        assert found.k_index.tolist() == whole.k_index.tolist()

    def test_batches_do_not_matter(self) -> None:
        whole, alone = self.certify(3), self.certify(1)
        torch.testing.assert_close(alone.bound[0], whole.bound[0], rtol=1e-4, atol=1e-9, equal_nan=True)

    @pytest.mark.parametrize("sigma", [0.1, 0.01, 0.0])
    def test_what_is_impossible_has_no_bound_and_all_else_a_bound_or_a_reason(self, sigma: float) -> None:
        found, each = self.certify(sigma=sigma), Smoothing(**{**vars(self.each), "sigma": sigma})
        for j, eps in enumerate(EPS):
            impossible = self.certifier.why_impossible(ratio_of(eps, sigma), each)
            for bound, reason in zip(found.bound[:, j].tolist(), found.reason[:, j], strict=True):
                assert (reason == "") == math.isfinite(bound)
                assert not (impossible and math.isfinite(bound))

    def test_coverage(self) -> None:
        """No more certificates are refuted than may fail, at the shift that moves all draws towards larger errors."""
        count, eps = 80, 0.06
        found, x = self.certify(count, [eps]).at(0), self.images(count)
        attacked = Attacked(
            estimator=Copy(), operator=Identity(), x=x, b=torch.full_like(x, 0.02),
            xi=torch.full_like(x, eps / 2), x_hat=x + 0.02 + eps / 2, n_samples=400,
        )  # fmt: skip
        truth = self.certifier.truth(found, attacked, self.certifier.each(self.smoothing, 1, apart=False))
        if truth is None:
            pytest.skip("it has no truth check")
        assert truth.network_evals >= attacked.n_samples * self.certifier.truth_evals
        assert int(truth.violated.sum()) <= binom.isf(1e-6, count, 1 - self.smoothing.confidence)
        torch.testing.assert_close(
            truth.certified.double(), found.bound.double(), rtol=1e-5, atol=1e-12, equal_nan=True
        )
        refuted = self.certifier.truth(replace(found, bound=found.bound * 0), attacked, self.each)
        assert refuted is not None
        assert torch.equal(refuted.violated, (truth.lower > 0) & found.bound.isfinite())

    # Its record in a certificate file.

    def recorded(self) -> dict[str, Any]:
        settings = {
            "measurement": "clean", "sigma": to_grey_levels(self.each.sigma) if self.certifier.smooths else None,
            "n_samples": self.each.n_samples, "confidence_each": self.each.confidence, "shared_over": {},
            "confidence": self.smoothing.confidence if self.certifier.smooths else 1.0,
            "simultaneous": self.each.simultaneous, "seed": self.each.seed, "quantile": self.each.q,
        }  # fmt: skip
        return certificate_record(self.certifier, self.certify(), 0, eps=EPS, settings=settings, units=Units.matched)

    def test_the_record_is_consistent(self) -> None:
        record = self.recorded()
        own = own_fields(type(self.certifier), record)
        assert list(fields.certificate_errors(record, own, "")) == []
        assert list(fields.out_of_range(record, self.certifier.ranges)) == []
        assert list(self.certifier.inconsistencies(record)) == []
        again = expected(self.certifier, record, 4, Units.matched)
        assert list(differences(record, again)) == []
        assert {row["bound"] == "nan" for row in record["radii"]} == {row["reason"] != "" for row in record["radii"]}

    def test_another_bound_does_not_follow(self) -> None:
        record = self.recorded()
        row = next(row for row in record["radii"] if row["bound"] not in ("nan", 0.0))
        row["bound"] *= 1 - 1e-6
        assert list(differences(record, expected(self.certifier, record, 4, Units.matched)))

    def test_the_record_holds_plain_values(self) -> None:
        def plain(value: Any) -> bool:
            if isinstance(value, dict | list):
                return all(map(plain, value.values() if isinstance(value, dict) else value))
            return value is None or type(value) in (bool, int, float, str)

        assert plain(self.recorded())
        assert not any(isinstance(v, np.generic) for v in self.recorded().values())
