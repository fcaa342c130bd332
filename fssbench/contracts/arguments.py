"""Arguments of Python calls: a value that the command line would refuse is refused here too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from fssbench.errors import UsageError, make_unknown_error

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
"""A number of at least one."""
Natural = Annotated[int, Field(ge=0)]
"""A number of at least zero."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A share between zero and one."""


def build_from_arguments(cls: type[T], values: Mapping[str, Any], *, function: str) -> T:
    """Build a dataclass from the arguments of a function, and check each value against its type and bounds.

    Args:
        cls: a dataclass whose fields are the arguments.
        values: arguments by name; those that are missing keep their default.
        function: name of the function, for messages, such as `fssbench.train`.

    Raises:
        UsageError: for an unknown argument, with similar names, or a value that is not allowed.
    """
    names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            raise make_unknown_error(f"argument of {function}", name, names, hint=f"Next: help({function})")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "arguments"
        given = f"{name}={values.get(name, first['input'])!r}"
        raise UsageError(
            f"{function}: {given} is not allowed: {first['msg'][:1].lower()}{first['msg'][1:]}. Next: help({function})"
        ) from None
