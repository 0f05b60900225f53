"""Load a trained estimator from a file: our own checkpoints and the published ones."""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.core.checkpoints import checkpoint_file
from invsmooth.core.errors import CheckpointError
from invsmooth.core.memory import keep_memory
from invsmooth.core.trust import make_module, refused
from invsmooth.estimators.adapters import adapted_to_y
from invsmooth.estimators.dpdnn import DPDNN
from invsmooth.estimators.fill import SPARE, at_most, check_fit, check_tensors, filled, outlined
from invsmooth.estimators.istanetpp import ISTANetPP
from invsmooth.estimators.weights import ADAPTED, SUFFIX, read_safetensors

# What a checkpoint needs, beside the estimator, for a training to go on from it.
OF_A_TRAINING: dict[str, type] = {
    "batches_seen": int, "epoch": int, "global_step": int, "pytorch-lightning_version": str, "optimizer_states": list,
    "lr_schedulers": list, "loops": dict, "callbacks": dict,
}  # fmt: skip
MOST_WITHOUT_WEIGHTS = 2**24  # numbers that an estimator without weights may hold in buffers
ISTANETPP, DPDNN_PYTORCH = PUBLISHED = (
    "condition.fc1.weight",
    "Feature_Encoder1_fe.0.weight",
)  # a name that tells them
RECORDED = ("estimator", "operator", "choices", "names")  # keys of hyper_parameters in a checkpoint of ours
PREFIX = "estimator."  # of the estimator's weights in a checkpoint of ours


def load_checkpoint(path: str | Path, *, trust: str | Sequence[str] = ()) -> nn.Module:
    """The estimator in a checkpoint, in eval mode, on the CPU.

    Takes the checkpoints of ``invsmooth.train``, the ISTA-Net++ authors' state dict (key prefix ``module.``) and that of
    the published DPDNN PyTorch code. The file is read with ``weights_only=True``: no code in it runs. Its class is
    imported only if it is trusted (:mod:`invsmooth.core.trust`), and its memory is taken only once the weights fit.

    Args:
        path: the file; a run folder, of which the best weights are taken; or the name of one in ``outputs``.
        trust: dotted names of modules whose classes the file may name, beside ``invsmooth`` and ``torch.nn``.
    Raises: FileNotFoundError: there is no such file.
        CheckpointError: the file cannot be read, holds something else, names a class that is not trusted, or weights
            that do not fit or are not finite."""
    keep_memory()  # the network will run
    file = checkpoint_file(path)
    return estimator_in(read(file), file, [trust] if isinstance(trust, str) else trust)


def read(path: Path) -> Mapping[Any, Any]:
    """What a torch or safetensors file holds; no code in it runs."""
    if not os.path.isfile(path):  # False, too, for what is no name of a file
        raise FileNotFoundError(f"there is no checkpoint file at {path}")
    if path.suffix == SUFFIX:
        return read_safetensors(path)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                    raise refused(path, "cannot be read as a torch checkpoint: it unpacks to more than its own size")
        with warnings.catch_warnings():  # about how the file was written
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises a different error for each way a file can be broken
        why = f"it is damaged, or no torch file ({type(error).__name__})"
        # torch's own message goes on to say how to run the code in the file.
        if isinstance(error, pickle.UnpicklingError) and (found := re.search(r"GLOBAL (\S+)", str(error))):
            why = (
                f"it holds {found[1]}, and only tensors and plain values are read; where you trust the file, save its "
                "weights alone: torch.save(network.state_dict(), PATH)"
            )
        raise refused(path, f"cannot be read as a torch checkpoint: {why}") from error
    if not isinstance(content, Mapping):
        raise refused(path, f"holds a {type(content).__name__}, not a checkpoint or a state dict")
    return content


def is_ours(content: Mapping[Any, Any]) -> bool:
    """Whether a file says that it is a checkpoint of ``invsmooth.train``. Lightning writes ``hyper_parameters`` into the
    checkpoints of other programs, too."""
    saved = content.get("hyper_parameters", content)
    others = isinstance(saved, Mapping) and len(saved) > 0 and saved.keys().isdisjoint(RECORDED)
    return "hyper_parameters" in content and not others


def is_published(content: Mapping[Any, Any]) -> bool:
    return any(str(k).removeprefix("module.") in PUBLISHED for k in content)


def estimator_in(content: Mapping[Any, Any], path: Path, trust: Sequence[str]) -> nn.Module:
    if "state_dict" in content and "hyper_parameters" in content:
        saved, state = content["hyper_parameters"], content["state_dict"]
        if not isinstance(saved, Mapping) or "estimator" not in saved:
            raise refused(path, "does not say which estimator its weights are of (hyper_parameters.estimator)")
        if not isinstance(state, Mapping):
            raise refused(path, f"holds a {type(state).__name__} in the place of the weights (state_dict)")
        own = {k.removeprefix(PREFIX): v for k, v in named(state, path).items() if k.startswith(PREFIX)}
        return filled(maker(saved["estimator"], own, trust, path), own, path, trust)
    state = {k.removeprefix("module."): v for k, v in named(content, path).items()}
    if ISTANETPP in state:
        return istanetpp_from_published(state, path)
    if DPDNN_PYTORCH in state:
        return dpdnn_from_published(state, path)
    keys = ", ".join(list(state)[:5]) or "nothing"
    raise refused(
        path, f"is no checkpoint of invsmooth, ISTA-Net++ or DPDNN; it begins with: {keys}. For weights of another network "
        "name the network: estimator=custom estimator._target_=package.Class",
    )  # fmt: skip


def maker(description: object, names: Collection[str], trust: Sequence[str], source: Path) -> Callable[[], nn.Module]:
    """Makes the described module; as an estimator if the weights ``names`` are those of one that takes y alone."""
    adapted = all(name.startswith(ADAPTED) for name in names)
    return lambda: (adapted_to_y if adapted else lambda module: module)(make_module(description, trust, source))


def named(state: Mapping[Any, Any], path: Path) -> dict[str, Any]:
    for key in state:
        if not isinstance(key, str):
            raise refused(path, f"is no state dict: its key {key!r} is no text")
    return dict(state)


def from_description(description: object, path: Path, *, trust: Sequence[str] = ()) -> nn.Module:
    """An estimator without weights, in eval mode, from the class and parameters that a file names.
    Raises: CheckpointError: see :func:`invsmooth.core.trust.make_module`; or it has weights after all."""
    with at_most(0, path):
        outline = outlined(maker(description, (), trust, path), trust)
    if sum(b.numel() for b in outline.buffers()) > MOST_WITHOUT_WEIGHTS:
        raise refused(path, f"describes an estimator with more than {MOST_WITHOUT_WEIGHTS} numbers, but no weights")
    return maker(description, (), trust, path)().eval()


def check_reloads(description: object, estimator: nn.Module, trust: Sequence[str]) -> None:
    """Raises: CheckpointError: the description in the checkpoints of a training does not rebuild the network."""
    source, state = Path("a checkpoint"), estimator.state_dict()
    with at_most(2 * len(state) + SPARE, source):
        outline = outlined(maker(description, state, trust, source), trust)
    check_fit(outline.state_dict(), state, source)


def check_resumable(path: Path, estimator: nn.Module, trust: Sequence[str]) -> None:
    """Raises: CheckpointError: no training of ``estimator`` can go on from a file: it is no whole
    checkpoint of ours, or one of another network."""
    content = read(path)
    if missing := [k for k, kind in OF_A_TRAINING.items() if not isinstance(content.get(k), kind)]:
        why = f"from which a training can go on: {', '.join(missing)} missing or of a wrong kind"
        raise refused(path, f"is no checkpoint {why}; to start from its weights use ckpt= in place of resume=")
    check_fit(estimator.state_dict(), estimator_in(content, path, trust).state_dict(), path)


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
    weight = state.get(name)
    if not isinstance(weight, Tensor) or weight.ndim != 4 or len(weight) < 1:
        raise refused(path, f"has weights that do not fit: {name} is no weight of a convolution")
    return len(weight)
