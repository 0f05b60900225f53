"""The parts of my_lab pass the checks of their kinds. docs/extending.md shows this file."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from my_lab.algorithm import NoisyTraining
from my_lab.attack import LineSearch
from my_lab.certifier import Tail
from my_lab.operator import RowMask

from tests.attacks.conformance import AttackConformance
from tests.certificates.conformance import CertifierConformance
from tests.operators.conformance import check
from tests.training.conformance import AlgorithmConformance


def test_row_mask() -> None:
    check(RowMask(every=3))


class TestLineSearch(AttackConformance):
    part = LineSearch()


class TestTail(CertifierConformance):
    certifier = Tail(share=0.6)


class TestNoisy(AlgorithmConformance):
    algorithm, parameters = NoisyTraining, {"sigma": 0.05}
