"""NTRENet, see `fssbench.methods.ntrenet.method`."""

from .method import NTRENet as NTRENet
