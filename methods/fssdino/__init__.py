"""The method FSSDINO, and the parts that only it uses."""

from .method import FSSDINO as FSSDINO, FSSDINOConfig as FSSDINOConfig
