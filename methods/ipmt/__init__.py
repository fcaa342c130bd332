"""The method IPMT, and the parts that only it uses."""

from .method import IPMT as IPMT, IPMTConfig as IPMTConfig
