"""A progress bar that also moves within a batch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import RichProgressBar
from rich import get_console


class InnerBar(RichProgressBar):
    """Lightning's bar of batches, and one below it of what is going on within the batch."""

    def __init__(self, **options: Any) -> None:
        self.inner_id: Any = None
        self.what = ""
        super().__init__(**options)

    @property
    def is_seen(self) -> bool:
        """Whether there is a terminal that it moves on."""
        return self.is_enabled and get_console().is_terminal

    def _reset_progress_bar_ids(self) -> None:
        super()._reset_progress_bar_ids()
        self.inner_id = None

    def inner(self, what: str, done: float, total: float) -> None:
        """Show ``done`` of ``total`` (inf: unknown) steps of ``what``."""
        if self.progress is None or self.is_disabled or self._progress_stopped:
            return
        if self.inner_id is None:
            self.inner_id = self._add_task(total, what)
        elif what != self.what:
            self.progress.reset(self.inner_id, total=total, description=what)
        self.what = what
        self.progress.update(self.inner_id, completed=done, visible=True)
        self.refresh()
