"""The method FECANet, and the parts that only it uses."""

from .method import FECANet as FECANet, FECANetConfig as FECANetConfig
