"""Frozen feature extractors with named taps, weights and their licences."""

from fssbench.backbones.catalogue import BACKBONES, BackboneCard, build, default_weights

__all__ = ["BACKBONES", "BackboneCard", "build", "default_weights"]
