"""Layers and computations that several methods share."""
