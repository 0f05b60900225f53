"""Figures, with Matplotlib and without pyplot."""
