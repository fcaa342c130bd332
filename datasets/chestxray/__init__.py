"""Chest radiographs with lung masks."""
