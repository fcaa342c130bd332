"""The method ASGNet, and the parts that only it uses."""

from .method import ASGNet as ASGNet, ASGNetConfig as ASGNetConfig
