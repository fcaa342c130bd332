"""Figures: one kind a module, one style for all, drawn once for the page and for files."""
