"""Tables and figures from result rows. No torch network runs here."""

from invsmooth.reporting.page import report

__all__ = ["report"]
