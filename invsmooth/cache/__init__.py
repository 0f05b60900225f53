"""Cached results, stored under a hash of what determines them."""

from invsmooth.cache.code import code_of, package_key
from invsmooth.cache.content import content_key
from invsmooth.cache.results import Like, Remember, Results, not_kept
from invsmooth.cache.store import Store

__all__ = ["Like", "Remember", "Results", "Store", "code_of", "content_key", "not_kept", "package_key"]
