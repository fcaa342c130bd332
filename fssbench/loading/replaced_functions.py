"""Functions of a method that were replaced after it was loaded, so that its source does not say what it computes."""

from __future__ import annotations

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


def refuse_replaced_functions(method: Method) -> None:
    """Refuse a method whose functions are not those that were noted, as after `method.logits = mine` in a notebook.

    Raises:
        PluginError: if one was replaced, on the object or in its class.
    """
    noted, now = _NOTED[method], _collect_functions(method)
    replaced = [name for name in {**noted, **now} if noted.get(name) != now.get(name)]
    if replaced:
        raise PluginError(
            f"method {method.card.name!r}: {', '.join(replaced)} was replaced after the method was loaded, so its "
            "source and the identity of its runs do not have what it computes. Next: put the change into a class that "
            "derives from this one, with a card of its own, and load that"
        )


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
