"""The method BAM, and the parts that only it uses."""

from .method import BAM as BAM, BAMConfig as BAMConfig
