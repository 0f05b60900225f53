"""Attack and certify test images."""
