"""Attack and certify test images: settings, one image, the Lightning callbacks around it, the cache
of results."""
