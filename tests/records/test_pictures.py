from __future__ import annotations

import torch

from invsmooth.records.pictures import as_picture


def test_red_comes_first_and_grey_has_no_channels() -> None:
    colour = torch.rand(3, 4, 5)
    assert torch.equal(as_picture(colour)[..., 0], colour[0])
    assert torch.equal(as_picture(colour)[..., 2], colour[2])
    assert torch.equal(as_picture(colour[:1]), colour[0])
