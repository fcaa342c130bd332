"""Arguments of Python calls: a value that the command line would refuse is refused here too."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, InstanceOf, TypeAdapter, ValidationError

from fssbench.contracts.limits import LARGEST_SHOT, LARGEST_SIDE, LARGEST_WHOLE, SMALLEST_SIDE
from fssbench.errors import UsageError, make_unknown_error

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Count = Annotated[int, Field(ge=1, le=LARGEST_WHOLE)]
"""A number of at least one."""
Natural = Annotated[int, Field(ge=0, le=LARGEST_WHOLE)]
"""A number of at least zero."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""A seed of NumPy's generators."""
Side = Annotated[int, Field(ge=SMALLEST_SIDE, le=LARGEST_SIDE)]
"""The side of a network input, in pixels."""
Shot = Annotated[int, Field(ge=1, le=LARGEST_SHOT)]
"""The number of supports of an episode."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A share between zero and one."""

_LONGEST = 80
"""Characters of a value that a message shows."""


def check_arguments(function: F) -> F:
    """Make a public function check its arguments against its type hints when it is called.

    A number that is a text, or a number of numpy, is converted.  A setting in `**options` is not checked here.

    Returns:
        A function that raises `UsageError` for an unknown or missing argument, or a value of another type.
    """
    signature = inspect.signature(function)
    name = f"fssbench.{function.__name__}"

    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        bound = _bind(signature, name, values, named)
        for parameter, adapter in _make_adapters(function).items():
            if parameter not in bound.arguments:
                continue
            value = bound.arguments[parameter]
            if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
                checked: Any = tuple(_check(adapter, each, parameter, function) for each in value)
            else:
                checked = _check(adapter, value, parameter, function)
            bound.arguments[parameter] = checked
        return function(*bound.args, **bound.kwargs)

    return typing.cast(F, call)


def _bind(
    signature: inspect.Signature, name: str, values: tuple[Any, ...], named: Mapping[str, Any]
) -> inspect.BoundArguments:
    try:
        return signature.bind(*values, **named)
    except TypeError as error:
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
        for argument in () if takes_any else named:
            if argument not in signature.parameters:
                known = signature.parameters
                raise make_unknown_error(
                    f"argument of {name}", argument, known, hint=f"Next: help({name})"
                ) from None
        raise UsageError(f"{name}: {error}. Next: help({name})") from None


@functools.cache
def _make_adapters(function: Callable[..., Any]) -> dict[str, TypeAdapter[Any]]:
    """Make the checks of a function's arguments; they are made at the first call, because the hints name classes."""
    hints = typing.get_type_hints(function, include_extras=True)
    kinds = {name: parameter.kind for name, parameter in inspect.signature(function).parameters.items()}
    return {
        name: TypeAdapter(_by_instance(hint))
        for name, hint in hints.items()
        if name != "return" and kinds[name] is not inspect.Parameter.VAR_KEYWORD and hint is not Any
    }


def _by_instance(hint: Any) -> Any:
    """Let a class of fssbench be checked by `isinstance` alone, also inside of a union."""
    if inspect.isclass(hint) and hint.__module__.startswith("fssbench."):
        instance_of: Any = (
            InstanceOf  # for a type checker, its argument must be known before the program runs
        )
        return instance_of[hint]
    if typing.get_origin(hint) in (typing.Union, type(int | str)):
        return typing.Union[tuple(_by_instance(part) for part in typing.get_args(hint))]  # noqa: UP007
    return hint


def _check(adapter: TypeAdapter[Any], value: Any, parameter: str, function: Callable[..., Any]) -> Any:
    try:
        return adapter.validate_python(value.item() if isinstance(value, np.generic) else value)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        wanted = str(function.__annotations__[parameter])
        why = _describe_problem(problems[0]) if len(problems) == 1 else f"it must be {wanted}"
        raise _refuse(f"fssbench.{function.__name__}", parameter, value, why) from None


def _describe_problem(problem: Mapping[str, Any]) -> str:
    text = str(problem["msg"])
    return f"{text[:1].lower()}{text[1:]}"


def _refuse(function: str, name: str, value: object, why: str) -> UsageError:
    shown = repr(value)
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ..."
    return UsageError(f"{function}: {name}={shown} is not allowed: {why}. Next: help({function})")


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
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in values.items()}
    try:
        return TypeAdapter(cls).validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else "arguments"
        raise _refuse(function, name, values.get(name, first["input"]), _describe_problem(first)) from None
