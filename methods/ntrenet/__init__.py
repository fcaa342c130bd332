"""The method NTRENet, and the parts that only it uses."""

from .method import NTRENet as NTRENet
