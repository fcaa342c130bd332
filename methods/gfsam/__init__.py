"""The method GF-SAM, and the parts that only it uses."""

from .method import GFSAM as GFSAM, GFSAMConfig as GFSAMConfig
