"""Load a trained estimator from a file: our own checkpoints and the published ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.errors import CheckpointError
from invsmooth.estimators.dpdnn import DPDNN
from invsmooth.estimators.istanetpp import ISTANetPP


def load_checkpoint(path: str | Path) -> nn.Module:
    """The estimator in a checkpoint, in eval mode, on the CPU.

    Takes the checkpoints of ``invsmooth.train``, the ISTA-Net++ authors' state dict (key prefix ``module.``) and that of
    the published DPDNN PyTorch code. The file is read with ``weights_only=True``: no code in it runs.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file cannot be read, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different error for each way a file can be broken
        raise CheckpointError(f"{path} cannot be read as a torch checkpoint: {error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a checkpoint or a state dict")
    try:
        estimator = build(content, path)
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit: {error}") from error
    return estimator.eval()


def build(content: Mapping[str, Any], path: Path) -> nn.Module:
    """The estimator that ``content`` describes; the form is recognised by its keys."""
    if "state_dict" in content and "hyper_parameters" in content:
        estimator = from_description(content["hyper_parameters"]["estimator"], path)
        prefix = "estimator."
        state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
        estimator.load_state_dict(state)
        return estimator
    state = {k.removeprefix("module."): v for k, v in content.items()}
    if "condition.fc1.weight" in state:
        return istanetpp_from_published(state)
    if "Feature_Encoder1_fe.0.weight" in state:
        return dpdnn_from_published(state)
    keys = ", ".join(list(state)[:5])
    raise CheckpointError(f"{path} is no checkpoint of invsmooth, ISTA-Net++ or DPDNN; it begins with: {keys}")


def from_description(description: Mapping[str, Any], path: Path) -> nn.Module:
    """An estimator from the class and parameters that a checkpoint of ours names; nothing but a torch module is made."""
    from hydra.utils import get_object

    parameters = dict(description)
    target = parameters.pop("_target_", None)
    try:
        kind = get_object(target)
    except Exception as error:
        raise CheckpointError(
            f"{path} needs the estimator class {target}, which cannot be imported: {error}"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise CheckpointError(f"{path} names {target} as its estimator, which is no torch module class")
    return kind(**parameters)


def istanetpp_from_published(state: Mapping[str, Tensor]) -> ISTANetPP:
    """ISTA-Net++ with the authors' weights; the sizes are read off the tensors."""
    n_phases = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("fcs."))
    estimator = ISTANetPP(n_phases, channels=state["fcs.0.head_conv.weight"].shape[0])
    names = {"fcs.": "phases.", "ResidualBlocks.": "res_blocks.", "condition.fc1.": "condition.0.",
             "condition.fc2.": "condition.2.", "condition.fc3.": "condition.4."}  # fmt: skip
    estimator.load_state_dict({replace_all(k, names): v for k, v in state.items()})
    return estimator


def dpdnn_from_published(state: Mapping[str, Tensor]) -> DPDNN:
    """DPDNN with the weights of the published PyTorch code, which uses its first two down-convolutions twice."""
    n_steps = sum(re.fullmatch(r"delta_\d+", k) is not None for k in state)
    levels = sum(re.fullmatch(r"Feature_Encoder\d+_fe\.0\.weight", k) is not None for k in state)
    channels = state["Feature_Encoder1_fe.0.weight"].shape[0]
    estimator = DPDNN(n_steps, channels, levels, share_down=True)
    ours = {}
    for kind in ("delta", "eta"):
        ours[kind] = torch.stack([state[f"{kind}_{t + 1}"].reshape(()) for t in range(n_steps)])
    for key, value in state.items():
        if (name := published_dpdnn_name(key)) is not None:
            ours[f"denoiser.{name}"] = value
    estimator.load_state_dict(ours)
    return estimator


def published_dpdnn_name(key: str) -> str | None:
    """Our name within the U-Net of a tensor of the published DPDNN; None for a tensor that its forward pass never uses
    (the down-convolutions 3 and 4) and for delta and eta."""
    rules = [
        (r"Feature_Encoder(\d+)_fe\.(.+)", lambda m: f"encoders.{int(m[1]) - 1}.{m[2]}"),
        (r"Feature_Encoder([12])_down\.0\.(.+)", lambda m: f"downs.{int(m[1]) - 1}.{m[2]}"),
        (r"encoder_end\.0\.(.+)", lambda m: f"bottom.{m[1]}"),
        (r"decoder_up(\d+)\.(.+)", lambda m: f"ups.{int(m[1]) - 1}.{m[2]}"),
        (r"Feature_Decoder(\d+)\.0\.(.+)", lambda m: f"fusions.{int(m[1]) - 1}.{m[2]}"),
        # Their decoder starts with the 1×1 fusion and its ReLU (0, 1), which are apart in ours.
        (r"Feature_Decoder(\d+)\.(\d+)\.(.+)", lambda m: f"decoders.{int(m[1]) - 1}.{int(m[2]) - 2}.{m[3]}"),
        (r"Feature_Decoder_end\.(.+)", lambda m: f"tail.{m[1]}"),
    ]
    return next((name(m) for pattern, name in rules if (m := re.fullmatch(pattern, key))), None)


def replace_all(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        text = text.replace(old, new)
    return text
