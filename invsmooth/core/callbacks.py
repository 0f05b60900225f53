"""Progress of a function that evaluates a network many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``: reconstructions so far, and how many there will be, about. An exception that it
raises ends the work."""


@contextmanager
def told(estimator: Callable[..., Tensor], progress: Progress | bool, total: int) -> Iterator[Callable[..., Tensor]]:
    """``estimator``, whose reconstructions are counted for ``progress``; True shows a bar, False nothing. The last call says
    ``total``, unless the work fails."""
    if progress is False:
        yield estimator
        return
    with ExitStack() as stack:
        tell: Progress = stack.enter_context(bar()) if progress is True else progress
        done = 0

        def count(n_images: int) -> None:
            nonlocal done
            done = min(done + n_images, total - 1)
            tell(done, total)

        if isinstance(estimator, nn.Module):  # it has to stay a module: its mode and weights matter
            hook = estimator.register_forward_hook(lambda module, given, x_hat: count(len(given[0])))
            stack.callback(hook.remove)
            yield estimator
        else:
            yield counting(estimator, count)
        tell(total, total)


def counting(estimator: Callable[..., Tensor], count: Callable[[int], None]) -> Callable[..., Tensor]:
    def counted(y: Tensor, operator: Any) -> Tensor:
        x_hat = estimator(y, operator)
        count(len(y))
        return x_hat

    return counted


@contextmanager
def bar() -> Iterator[Progress]:
    """A bar in a terminal or notebook. (rich, which the commands use, needs ipywidgets in a notebook.)"""
    from tqdm import tqdm

    with tqdm(desc="reconstructions", leave=False) as shown:

        def show(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield show
