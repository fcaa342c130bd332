"""Segmentation of anybody's images from a few labelled examples, without a benchmark."""
