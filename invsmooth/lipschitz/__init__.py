"""Lipschitz constants: proven bounds of norms and of networks (SPEC section 10; docs/lipschitz.md)."""
