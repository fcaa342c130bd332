"""Plugins: found by name, imported, called, and known by a hash of their source."""
