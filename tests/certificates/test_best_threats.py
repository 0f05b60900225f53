"""``best`` compares bounds for the same attacks only, and says what it leaves out."""

from __future__ import annotations

from invsmooth.certificates.best import Best, left_out
from invsmooth.certificates.error import Error
from invsmooth.certificates.lipschitz import Lipschitz


def test_a_bound_for_attacks_on_the_measurement_is_left_out_and_that_is_said() -> None:
    assert Best().combines(Error())
    assert Best().combines(Lipschitz())
    assert not Best().combines(Lipschitz(threat="measurement"))
    (line,) = left_out([Error(), Lipschitz(threat="measurement"), Best()])
    assert line.startswith("lipschitz is left out of best: its bounds are for attacks on the measurement")
    assert left_out([Error(), Lipschitz(), Best()]) == left_out([Lipschitz(threat="measurement")]) == []
