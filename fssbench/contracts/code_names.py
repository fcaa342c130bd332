"""Names that compiled code uses; this module does not need torch."""

from __future__ import annotations

from types import CodeType


def list_names_in(code: CodeType) -> set[str]:
    """List the names of globals and attributes that a function and the functions inside it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= list_names_in(constant)
    return names
