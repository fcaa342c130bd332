"""The method AAFormer, and the parts that only it uses."""

from .method import AAFormer as AAFormer, AAFormerConfig as AAFormerConfig
