"""The method RePRI, and the parts that only it uses."""

from .method import RePRI as RePRI, RePRIConfig as RePRIConfig
