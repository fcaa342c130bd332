"""The method IFA, and the parts that only it uses."""

from .method import IFA as IFA, IFAConfig as IFAConfig
