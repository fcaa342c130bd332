"""The precisions in which a run may be computed."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bf16"]
"""float32, or bfloat16 for the products and convolutions of backbone and method (`--precision`)."""

DTYPES: dict[Precision, str] = {"float32": "float32", "bf16": "bfloat16"}
"""What the identity of a run says of each precision."""


def read_precision(dtype: str) -> Precision:
    """Return the precision of a run from the `dtype` of its identity.

    Raises:
        ValueError: for a type that this version does not know.
    """
    for precision, name in DTYPES.items():
        if name == dtype:
            return precision
    raise ValueError(f"dtype {dtype!r} is unknown to this version (known: {', '.join(DTYPES.values())})")
