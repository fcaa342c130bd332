"""Episodic training of methods that have a recipe."""
