"""What was computed once is kept by the content that determines it, and not computed again."""

from invsmooth.cache.code import code_of, package_key
from invsmooth.cache.content import content_key
from invsmooth.cache.results import Like, Remember, Results, not_kept
from invsmooth.cache.store import Store
from invsmooth.cache.trainings import Training

__all__ = ["Like", "Remember", "Results", "Store", "Training", "code_of", "content_key", "not_kept", "package_key"]
