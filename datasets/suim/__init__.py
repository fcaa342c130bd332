"""SUIM underwater scenes."""
