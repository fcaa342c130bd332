"""The method PMMs, and the parts that only it uses."""

from .method import PMMs as PMMs, PMMsConfig as PMMsConfig
