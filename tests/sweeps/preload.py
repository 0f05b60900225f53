"""What the fork server imports before it forks."""

from __future__ import annotations

import torch

import invsmooth.pipeline.run
import invsmooth.reporting
import invsmooth.train  # noqa: F401

torch.set_num_threads(1)
