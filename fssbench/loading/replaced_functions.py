"""Functions of a method that were replaced after it was loaded, so that its source does not say what it computes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from fssbench.contracts.methods import Method
from fssbench.errors import PluginError

_CHOICES = ("shots", "align_corners")
"""Attributes of a class that decide what the harness makes of its logits."""
_NOTED: WeakKeyDictionary[Method, dict[str, Any]] = WeakKeyDictionary()


def note_functions(method: Method) -> None:
    """Note the functions that a method and its backbone have while their source is hashed."""
    _NOTED[method] = _collect_functions(method)


def refuse_replaced_functions(method: Method, files: Iterable[Path]) -> None:
    """Refuse a method whose functions are not those that were noted, as after `method.logits = mine` in a notebook.

    Args:
        method: the method.
        files: the files of its source.

    Raises:
        PluginError: if one was replaced, on the object or in its class, or one of a module by one of the session.
    """
    noted, now = _NOTED[method], _collect_functions(method)
    replaced = [name for name in {**noted, **now} if noted.get(name) != now.get(name)]
    replaced += _list_functions_of_session({str(path) for path in files})
    if replaced:
        raise PluginError(
            f"method {method.card.name!r}: {', '.join(replaced)} was replaced after it was loaded, so the "
            "source and the identity of its runs do not have what is computed. Next: put the change into a class that "
            "derives from this one, with a card of its own, and load that"
        )


def _list_functions_of_session(files: set[str]) -> list[str]:
    """List the functions of a notebook, a script or a session that stand in the modules of these files."""
    return [
        f"{each} of {Path(vars(module)['__file__']).name}"
        for name, module in list(sys.modules.items())
        if name != "__main__" and isinstance(module, ModuleType) and vars(module).get("__file__") in files
        for each, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__globals__.get("__name__") == "__main__"
    ]


def _collect_functions(method: Method) -> dict[str, Any]:
    """Collect the functions of a method and of its backbone by name, and the choices of the method."""
    own = _collect_of(method) | {name: getattr(method, name) for name in _CHOICES}
    of_backbone = {} if method.backbone is None else _collect_of(method.backbone)
    return own | {f"backbone.{name}": value for name, value in of_backbone.items()}


def _collect_of(part: nn.Module) -> dict[str, Any]:
    """Collect the functions of the classes of an object, and the ids of those that are set on the object."""
    functions: dict[str, Any] = {}
    for cls in reversed(type(part).__mro__):
        if cls not in (nn.Module, object):
            functions |= {name: value for name, value in vars(cls).items() if _is_function(value)}
    # a bound function would keep its object, and with it the method, for ever
    return functions | {name: id(value) for name, value in vars(part).items() if name in functions}


def _is_function(value: object) -> bool:
    return callable(value) or isinstance(value, property | classmethod | staticmethod)
