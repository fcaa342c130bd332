"""The method CyCTR, and the parts that only it uses."""

from .method import CyCTR as CyCTR, CyCTRConfig as CyCTRConfig
