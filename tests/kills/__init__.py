"""Commands that are killed (SIGKILL) at random moments and started again. ``make kills``: 50 of them."""
