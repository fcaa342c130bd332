"""The linear probe, and the parts that only it uses."""

from .method import LinearProbe as LinearProbe, LinearProbeConfig as LinearProbeConfig
