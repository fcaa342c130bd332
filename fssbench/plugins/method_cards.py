"""Cards of methods, kept from one call to the next.

The module of a method imports torch, which takes seconds; to list methods takes none of it.  A card is kept if its
expression names nothing but the records that it is made of, so that no environment and no date can change it.  It
is used again as long as every module that was loaded with it, and the way to it, are what they were.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fssbench.contracts.method_card import MethodCard
from fssbench.errors import PluginError
from fssbench.files.atomic import replace_file
from fssbench.files.cache import cache_folder
from fssbench.plugins.registry import METHODS

FILE = "method-cards.json"
"""In the cache folder."""
_LOADING_SINCE = time.time_ns() - 2_000_000_000
"""Files changed after this may have been changed after they were imported; some clocks of files tick in seconds."""
_Stamp = list[int]


def read_method_cards(names: Iterable[str]) -> dict[str, MethodCard | PluginError]:
    """Read the cards of methods; import the methods whose cards are not kept.

    Args:
        names: registered names.

    Returns:
        The card of each name, or the error with which it does not load.

    Raises:
        UsageError: for an unknown name.
    """
    kept = _read_kept()
    cards: dict[str, MethodCard | PluginError] = {}
    imported: dict[str, Any] = {}
    for name in names:
        try:
            plugin = METHODS.plugin(name)
            if plugin.value is None and plugin.origin in kept:
                cards[name] = kept[plugin.origin]
            else:
                imported[plugin.origin] = method = plugin.get()
                cards[name] = method.card
        except PluginError as error:
            cards[name] = error
    if added := {origin: cls.card for origin, cls in imported.items() if _can_be_kept(origin, cls)}:
        _write_kept(kept | added)
    return cards


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


def _can_be_kept(origin: str, cls: Any) -> bool:
    """Whether a card depends on nothing but the code of its modules and comes back as it was."""
    if f"({cls.__module__}" not in origin or type(cls.card) is not MethodCard:
        return False  # a plugin that was named on the command line is imported anyway
    return _has_plain_card(cls) and MethodCard.model_validate(cls.card.model_dump(mode="json")) == cls.card


def _has_plain_card(cls: Any) -> bool:
    """Whether the class writes its own card, in an expression that always gives the same."""
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
    """Whether an expression is made of constants, records, and parts of other plain cards.

    Args:
        node: the expression.
        names: of its module.
        bound: variables of comprehensions around it.
    """
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name in bound
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


def _read_kept() -> dict[str, MethodCard]:
    """Cards of the last call by the origin of their methods; none if anything may have changed since."""
    try:
        content = json.loads((cache_folder() / FILE).read_bytes())
        if content["way"] != _way() or any(_stamp(file) != stamp for file, stamp in content["files"].items()):
            return {}
        return {origin: MethodCard.model_validate(card) for origin, card in content["cards"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _write_kept(cards: dict[str, MethodCard]) -> None:
    """Keep cards with the stamps of all modules that are loaded; a folder that cannot be written keeps none."""
    files = {
        str(file) for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    }
    stamps = {file: _stamp(file) for file in sorted(files)}
    if any(stamp and max(stamp[1:]) > _LOADING_SINCE for stamp in stamps.values()):
        return
    content = {
        "way": _way(),
        "files": stamps,
        "cards": {origin: card.model_dump(mode="json") for origin, card in cards.items()},
    }
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        replace_file(cache_folder() / FILE, json.dumps(content).encode())
    except OSError:
        pass


def _way() -> list[str]:
    """Where Python looks for modules, and which Python it is."""
    here = {"", os.getcwd()}  # noqa: PTH109 - compared with strings
    return [sys.executable, sys.version, *(folder for folder in sys.path if folder not in here)]


def _stamp(file: str) -> _Stamp | None:
    """Size of a file, and when its bytes and its entry were last changed, in ns; None if there is none."""
    try:
        state = os.stat(file)  # noqa: PTH116 - of a thousand files
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
