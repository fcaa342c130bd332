"""Frozen feature extractors with named taps, weights and their licences."""

from fssbench.backbones.base import Backbone, Tap
from fssbench.backbones.catalogue import BACKBONES, build

__all__ = ["BACKBONES", "Backbone", "Tap", "build"]
