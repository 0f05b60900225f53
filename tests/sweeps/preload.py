"""What the fork server imports before it forks, and what a command computes before its work, of our code and conf alone."""

from __future__ import annotations

import torch
from hydra import compose, initialize_config_module

import invsmooth.certificates
import invsmooth.pipeline.run
import invsmooth.reporting
import invsmooth.train
from invsmooth.cache.code import package_key
from invsmooth.config import schema
from invsmooth.config.validate import validate

torch.set_num_threads(1)
package_key()
for name in invsmooth.certificates.__all__:
    getattr(invsmooth.certificates, name)
schema.register()
with initialize_config_module("invsmooth.conf", version_base="1.3"):
    for root in ("train", "evaluate"):
        validate(compose(root))  # whose parsers, too, remember what they have seen
