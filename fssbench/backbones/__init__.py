"""Frozen feature extractors with named taps, weights and their licences."""

from fssbench.backbones.base import Backbone, Tap
from fssbench.backbones.catalogue import BACKBONES, BackboneCard, build, default_weights

__all__ = ["BACKBONES", "Backbone", "BackboneCard", "Tap", "build", "default_weights"]
