"""The method HERA-HLS, and the parts that only it uses."""

from .method import HERAHLS as HERAHLS, HERAHLSConfig as HERAHLSConfig
