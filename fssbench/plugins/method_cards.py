"""A cache of the cards of methods.

The card of a part of fssbench is kept.  That of another plugin is kept if its expression names nothing but the records
that it is made of, so that no environment and no date can change it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fssbench.contracts.method_card import NO_REFERENCE, MethodCard
from fssbench.errors import PluginError
from fssbench.plugins.kept_facts import KeptFacts, is_built_in
from fssbench.plugins.registry import METHODS, Plugin

TOPIC = "method card"
"""Of the kept facts."""


def read_method_cards(names: Iterable[str]) -> dict[str, MethodCard | PluginError]:
    """Read the cards of methods; methods without a cached card are imported.

    Args:
        names: registered names.

    Returns:
        The card of each name, or the error if the method does not load.

    Raises:
        UsageError: for an unknown name.
    """
    kept = KeptFacts.read()
    cards: dict[str, MethodCard | PluginError] = {}
    for name in names:
        try:
            plugin = METHODS.plugin(name)
            card = _validated(kept.look_up(TOPIC, plugin))
            if card is None:
                method = plugin.get()
                card = method.card
                if _can_be_kept(plugin, method):
                    kept.add(TOPIC, plugin, card.model_dump(mode="json"))
            cards[name] = card
        except PluginError as error:
            cards[name] = error
    kept.save()
    return cards


def _validated(card: Any) -> MethodCard | None:
    """Make the record of a kept card; None if there is none, or one of another version of the record."""
    try:
        return None if card is None else MethodCard.model_validate(card)
    except ValueError:
        return None


def read_method_card(name: str) -> MethodCard:
    """Read the card of one method, see `read_method_cards`.

    Raises:
        UsageError: for an unknown name.
        PluginError: if the method does not load.
    """
    card = read_method_cards([name])[name]
    if isinstance(card, PluginError):
        raise card
    return card


def _can_be_kept(plugin: Plugin, cls: Any) -> bool:
    """Return whether a card depends only on the code of its modules, and is equal after storing and reading."""
    home = plugin.origin.rpartition("(")[2].partition(":")[0]
    if type(cls.card) is not MethodCard or not f"{cls.__module__}.".startswith(f"{home}."):
        return False  # a plugin that was named on the command line is imported anyway
    if not (is_built_in(plugin) or _has_plain_card(cls)):
        return False
    return MethodCard.model_validate(cls.card.model_dump(mode="json")) == cls.card


def _has_plain_card(cls: Any) -> bool:
    """Return whether the class defines its own card by an expression that always gives the same value."""
    module = sys.modules.get(getattr(cls, "__module__", ""))
    try:
        tree = ast.parse(Path(getattr(module, "__file__", None) or "").read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    values = [
        statement.value
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and target.id == "card"
    ]
    return len(values) == 1 and _is_plain(values[0], vars(module), set())


def _is_plain(node: ast.AST | None, names: dict[str, Any], bound: set[str]) -> bool:
    """Return whether an expression consists of constants, records, and parts of other plain cards.

    Args:
        node: the expression.
        names: the names of its module.
        bound: variables of comprehensions around it.
    """
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in bound or names.get(name) is NO_REFERENCE
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id=name), attr="card")):
            return _has_plain_card(names.get(name))
        case ast.Attribute(value=value, attr="startswith" | "endswith" | "text" | "kind"):
            return _is_plain(value, names, bound)
        case ast.BoolOp(values=parts):
            return all(_is_plain(part, names, bound) for part in parts)
        case ast.Compare(left=left, comparators=others):
            return all(_is_plain(part, names, bound) for part in (left, *others))
        case ast.Tuple() | ast.List() | ast.Starred():
            parts = [node.value] if isinstance(node, ast.Starred) else node.elts
            return all(_is_plain(part, names, bound) for part in parts)
        case ast.Call(func=func):
            is_record = isinstance(func, ast.Name) and func.id[:1].isupper()
            parts = [*node.args, *(keyword.value for keyword in node.keywords)]
            known = is_record or (isinstance(func, ast.Attribute) and _is_plain(func, names, bound))
            return known and all(_is_plain(part, names, bound) for part in parts)
        case ast.GeneratorExp(elt=element, generators=[loop]):
            inside = bound | ({loop.target.id} if isinstance(loop.target, ast.Name) else set())
            plain = all(_is_plain(part, names, inside) for part in (element, *loop.ifs))
            return plain and _is_plain(loop.iter, names, bound)
    return False
