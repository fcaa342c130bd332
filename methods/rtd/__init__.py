"""The method RTD, and the parts that only it uses."""

from .method import RTD as RTD, RTDConfig as RTDConfig
