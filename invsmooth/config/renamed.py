"""Keys and options that have a new name: one clear error instead of "unknown"."""

from __future__ import annotations

import re

KEYS = {"certify.bands": "certify.pixel_intervals"}


def renamed(text: str) -> str | None:
    """The error for the first old name in a key or a message of Hydra; None if there is none."""
    for old, new in KEYS.items():
        if re.search(rf"(?<![\w.]){re.escape(old)}(?![\w.])", text):
            return f"{old} is now called {new}: write {new}=…"
    found = re.search(r"experiment/(paper|small)/(cs|denoise)_(\w+)", text)
    if not found:
        return None
    size, task, algo = found.groups()
    small = "_small" if algo in ("adv", "smt_adv", "smt_grad") else ""
    data = {"cs": "train400", "denoise": "div2k"}[task]  # that the paper trains it on
    new = (
        f"task={task} algo={algo} data={data} scale=paper"
        if size == "paper"
        else f"task={task}_small algo={algo}{small}"
    )
    return f"experiment={size}/{task}_{algo} is no longer an option; the same config is {new}"
