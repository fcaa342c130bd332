"""The method ABCDFSS, and the parts that only it uses."""

from .method import ABCDFSS as ABCDFSS, ABCDFSSConfig as ABCDFSSConfig
