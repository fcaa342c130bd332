"""The method ABCNet, and the parts that only it uses."""

from .method import ABCNet as ABCNet, ABCNetConfig as ABCNetConfig
