"""Nodes of a config that describe a part of anybody's."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from invsmooth.config.parts import options


@dataclass(frozen=True)
class Open:
    """Marks a node of the config that describes a part: reserved keys, ``_target_``, and free parameters of that class."""

    folder: str  # of its options, in conf
    reserved: type  # a dataclass of the reserved keys; its defaults hold for every option
    provided: tuple[str, ...] = ()  # parameters that the class gets from the program, if it has them
    # A free parameter of any of our options is a key of the config whichever option is chosen. null: not given.
    shared: bool = False
    methods: tuple[str, ...] = ()  # that the class has to define

    @property
    def keys(self) -> list[str]:
        return [f.name for f in dataclasses.fields(self.reserved)]

    def node(self) -> dict[str, Any]:
        """The keys that every option has, with their defaults."""
        shared = [str(k) for option in options(self.folder).values() for k in option] if self.shared else []
        own = {f.name: f.default_factory() if callable(f.default_factory) else f.default
               for f in dataclasses.fields(self.reserved)}  # fmt: skip
        return {k: None for k in shared if k not in ("_target_", "defaults")} | own
