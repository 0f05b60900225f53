"""Tables, figures and a page from result rows. Needs no torch."""

from invsmooth.reporting.write import report

__all__ = ["report"]
