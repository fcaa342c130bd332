"""The method PANet, and the parts that only it uses."""

from .method import PANet as PANet, PANetConfig as PANetConfig
