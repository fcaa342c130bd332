"""The method VAT, and the parts that only it uses."""

from .method import VAT as VAT, VATConfig as VATConfig
