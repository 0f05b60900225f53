"""Keep freed memory in the process."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

SWITCH = "INVSMOOTH_FAST"  # 0: the settings below and the search for the fastest path are off


def switched_off() -> bool:
    return os.environ.get(SWITCH, "") == "0"


@functools.cache
def keep_memory() -> None:
    """Tell glibc to keep freed memory. By default it maps and unmaps every large CPU tensor, which
    costs up to two thirds of the time (docs/performance.md).

    The commands, :func:`invsmooth.certify`, :func:`invsmooth.load_checkpoint`, the attacks and the
    trainings call it when they are first used. The memory of the process then does not shrink. ``INVSMOOTH_FAST=0`` in the
    environment prevents it. It does nothing where there is no glibc."""
    m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None and not switched_off():
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
        mallopt(m_top_pad, 64 * 2**20)
