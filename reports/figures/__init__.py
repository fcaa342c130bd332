"""Figures of reports: one kind per module, one style for all.  Each is drawn once for the page and its files."""
