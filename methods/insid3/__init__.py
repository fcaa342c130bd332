"""The method INSID3, and the parts that only it uses."""

from .method import INSID3 as INSID3, INSID3Config as INSID3Config
