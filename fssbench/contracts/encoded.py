"""Encodings of images, which a method tells apart from the images and features that they are made of."""

from torch import Tensor


class Encoded(dict[str, Tensor]):
    """What `EncodingMethod.encode` returned, by name: (B, C, h, w) of queries, (B, K, C, h, w) of supports."""
