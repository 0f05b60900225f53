"""What was computed once is kept by the content that determines it, and not computed again."""

from invsmooth.cache.content import content_key, source_key
from invsmooth.cache.results import Remember, Results, not_kept
from invsmooth.cache.store import Store
from invsmooth.cache.trainings import Training

__all__ = ["Remember", "Results", "Store", "Training", "content_key", "not_kept", "source_key"]
