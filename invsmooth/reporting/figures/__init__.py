"""Figures of certificates, truth checks, methods and pictures, with Matplotlib and without
pyplot."""
