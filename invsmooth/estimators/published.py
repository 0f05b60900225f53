"""The published weights: the ISTA-Net++ authors' state dict, and that of the published DPDNN PyTorch code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.core.trust import refused
from invsmooth.estimators.dpdnn import DPDNN
from invsmooth.estimators.fill import check_tensors, filled
from invsmooth.estimators.istanetpp import ISTANetPP


def istanetpp_from_published(state: Mapping[str, Any], path: Path) -> nn.Module:
    """ISTA-Net++ with the authors' weights; the sizes are read off the tensors."""
    n_phases = len({k.split(".")[1] for k in state if k.startswith("fcs.")})
    channels = first_size(state, "fcs.0.head_conv.weight", path)
    names = {"fcs.": "phases.", "ResidualBlocks.": "res_blocks.", "condition.fc1.": "condition.0.",
             "condition.fc2.": "condition.2.", "condition.fc3.": "condition.4."}  # fmt: skip
    ours = {}
    for key, value in state.items():
        for old, new in names.items():
            key = key.replace(old, new)
        ours[key] = value
    return filled(lambda: ISTANetPP(n_phases, channels), ours, path)


def dpdnn_from_published(state: Mapping[str, Any], path: Path) -> nn.Module:
    """DPDNN with the weights of the published PyTorch code, which uses its first two down-convolutions twice."""
    n_steps = sum(re.fullmatch(r"delta_\d+", k) is not None for k in state)
    levels = sum(re.fullmatch(r"Feature_Encoder\d+_fe\.0\.weight", k) is not None for k in state)
    channels = first_size(state, "Feature_Encoder1_fe.0.weight", path)
    check_tensors(state, path)
    ours = {}
    for kind in ("delta", "eta"):
        of_steps = [state.get(f"{kind}_{t + 1}") for t in range(n_steps)]
        if not of_steps or any(v is None or v.numel() != 1 for v in of_steps):
            raise refused(path, f"has weights that do not fit: {kind}_1, {kind}_2, … are not a number for each step")
        ours[kind] = torch.stack([v.reshape(()) for v in of_steps if v is not None])
    # Our names within the U-Net. The forward pass never uses their down-convolutions 3 and 4.
    rules: list[tuple[str, Callable[[re.Match[str]], str]]] = [
        (r"Feature_Encoder(\d+)_fe\.(.+)", lambda m: f"encoders.{int(m[1]) - 1}.{m[2]}"),
        (r"Feature_Encoder([12])_down\.0\.(.+)", lambda m: f"downs.{int(m[1]) - 1}.{m[2]}"),
        (r"encoder_end\.0\.(.+)", lambda m: f"bottom.{m[1]}"),
        (r"decoder_up(\d+)\.(.+)", lambda m: f"ups.{int(m[1]) - 1}.{m[2]}"),
        (r"Feature_Decoder(\d+)\.0\.(.+)", lambda m: f"fusions.{int(m[1]) - 1}.{m[2]}"),
        # Their decoder starts with the 1×1 fusion and its ReLU (0, 1), which are apart in ours.
        (r"Feature_Decoder(\d+)\.(\d+)\.(.+)", lambda m: f"decoders.{int(m[1]) - 1}.{int(m[2]) - 2}.{m[3]}"),
        (r"Feature_Decoder_end\.(.+)", lambda m: f"tail.{m[1]}"),
    ]
    for key, value in state.items():
        names = (name(m) for pattern, name in rules if (m := re.fullmatch(pattern, key)))
        if (name := next(names, None)) is not None:
            ours[f"denoiser.{name}"] = value
    return filled(lambda: DPDNN(n_steps, channels, levels, share_down=True), ours, path)


def first_size(state: Mapping[str, Any], name: str, path: Path) -> int:
    """The channels of the convolution ``name``."""
    weight = state.get(name)
    if not isinstance(weight, Tensor) or weight.ndim != 4 or len(weight) < 1:
        raise refused(path, f"has weights that do not fit: {name} is no weight of a convolution")
    return len(weight)
