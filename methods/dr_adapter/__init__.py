"""The method DR-Adapter, and the parts that only it uses."""

from .method import DRAdapter as DRAdapter, DRAdapterConfig as DRAdapterConfig
