"""Online or offline: decided before the run starts, without a prompt."""

from __future__ import annotations

import logging
import os
from typing import Any

import requests
import wandb

from invsmooth.core.errors import ConfigError

log = logging.getLogger(__name__)

SAME = {"dryrun": "offline", "run": "online"}  # old values of the environment variable WANDB_MODE
OFFLINE = "use logger.mode=offline, and `wandb sync` later (docs/logging.md)"


def choose_mode(wanted: str | None, timeout: float) -> Any:
    """``wanted`` (``logger.mode``); if it is null WANDB_MODE. Without both: online if there is an
    API key and the server answers, else offline.

    Raises: ConfigError: online is asked for without a key, or nothing answers for ``timeout`` s.
    """
    asked = wanted or os.environ.get("WANDB_MODE") or None
    mode = SAME.get(asked, asked) if asked else None
    if mode not in (None, "online"):
        return mode
    if (problem := offline_reason(timeout)) is None:
        return "online"
    if mode == "online":
        raise ConfigError(f"W&B online: {problem}; {OFFLINE}")
    log.warning("W&B offline: %s. `wandb sync` sends the run later (docs/logging.md)", problem)
    return "offline"


def offline_reason(timeout: float) -> str | None:
    """Why no run can be online; None if one can. Without a key nothing goes over the network."""
    settings = wandb.setup().settings
    # Not wandb.login(): it asks the server for the user's name, and waits for it.
    if not (settings.api_key or settings.identity_token_file or requests.utils.get_netrc_auth(settings.base_url)):
        return "there is no API key (environment variable WANDB_API_KEY, or `wandb login`)"
    try:
        # Any answer will do. This goes through proxies, as W&B does.
        requests.head(settings.base_url, timeout=timeout, allow_redirects=False)
    except requests.exceptions.SSLError:
        return None  # the server answers; W&B reports the error
    except requests.exceptions.RequestException as error:
        return f"the server {settings.base_url} does not answer within {timeout:g} s ({type(error).__name__})"
    return None
