"""The method PMNet, and the parts that only it uses."""

from .method import PMNet as PMNet, PMNetConfig as PMNetConfig
