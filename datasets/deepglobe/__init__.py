"""DeepGlobe land cover."""
