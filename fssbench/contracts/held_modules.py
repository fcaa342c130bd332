"""Finds the modules that a function uses, so that their weights are known."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from fssbench.contracts.code_names import list_names_in

DEPTH = 8
"""Number of steps from a function to a module, through attributes, containers and other functions."""


def find_held_modules(model: Any) -> list[nn.Module]:
    """Find the modules that a callable reaches by its globals, closure, defaults, attributes and helper functions.

    Functions and objects of other packages are not followed.

    Args:
        model: a function, a method of an object, a partial call, or an object that can be called.

    Returns:
        The modules in a stable order.  Modules inside of modules are not listed.
    """
    home = _name_package(model)
    modules: list[nn.Module] = []
    seen: dict[int, Any] = {}  # the values are kept, so that no later one has the same id
    waiting: list[tuple[Any, int]] = [(model, 0)]
    while waiting:
        value, depth = waiting.pop(0)
        if id(value) in seen or depth > DEPTH:
            continue
        seen[id(value)] = value
        if isinstance(value, nn.Module):
            modules.append(value)
        else:
            waiting += [(part, depth + 1) for part in _list_parts(value, home)]
    return modules


def _list_parts(value: Any, home: str) -> Iterator[Any]:
    """Yield what a value consists of."""
    if isinstance(value, functools.partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, FunctionType):
        if _name_package(value) == home:
            yield from _list_parts_of_function(value, home)
    elif hasattr(value, "__wrapped__"):  # a decorated function, such as that of functools.cache
        yield value.__wrapped__
    elif not isinstance(value, type | ModuleType) and _name_package(type(value)) == home:
        yield getattr(value, "__dict__", {})
        yield dict(vars(type(value)))


def _list_parts_of_function(function: FunctionType, home: str) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
    yield from (function.__defaults__ or (), function.__kwdefaults__ or {}, vars(function))
    names = sorted(list_names_in(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            if value.__name__.partition(".")[0] == home:
                yield {each: vars(value)[each] for each in names if each in vars(value)}
        else:
            yield value


def _name_package(value: Any) -> str:
    """Return the top package of the module in which a callable or its class is defined."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, MethodType):
        value = value.__func__
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0]
