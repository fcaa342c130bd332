"""Hash of code without a file: classes of a notebook or an interactive session, replaced functions.

Only the compiled form of such code is available.  So the hash covers the instructions and constants of the
functions of a class, of the functions and classes of the session that they use, and the plain values among these.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Container, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from fssbench.contracts.code_names import list_names_in
from fssbench.plugins.execution import CORE_FOLDER, is_installed

_PLAIN = (int, float, complex, str, bytes, bool, type(None))


def hash_live_code(cls: type, *, base: type, known: Container[Path]) -> str | None:
    """Hash the code of a class that no known file contains.

    Args:
        cls: the plugin class.
        base: the contract from which it derives; members of the contract do not count.
        known: real paths of the files that are hashed elsewhere.

    Returns:
        The hash, or None if all code of the class is in known files.
    """
    parts: list[str] = []
    waiting: list[tuple[str, Any]] = [
        (ancestor.__qualname__, ancestor) for ancestor in cls.__mro__ if ancestor not in base.__mro__
    ]
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if inspect.isclass(value):
            whole = value.__module__ == "__main__" and not _has_file(value)
            for key, member in sorted(vars(value).items()):
                waiting += [(f"{name}.{key}", each) for each in _find_functions(member)]
                if inspect.isclass(member) and member.__module__ == "__main__":
                    waiting.append((f"{name}.{key}", member))  # for example the class of its settings
                if whole and isinstance(member, _PLAIN) and not key.startswith("__"):
                    parts.append(f"{name}.{key}={member!r}")
        elif isinstance(value, FunctionType) and not _is_known(value, known):
            defaults = [each for each in value.__defaults__ or () if isinstance(each, _PLAIN)]
            parts.append(f"{name}:{_describe_code(value.__code__)}:{defaults}")
            for used in sorted(list_names_in(value.__code__)):
                target = value.__globals__.get(used)
                if isinstance(target, _PLAIN):
                    parts.append(f"{used}={target!r}")
                elif isinstance(target, FunctionType) or (
                    inspect.isclass(target) and target.__module__ == "__main__"
                ):
                    waiting.append((used, target))
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest() if parts else None


def _find_functions(member: Any) -> Iterator[FunctionType]:
    """Yield the functions behind a member of a class: methods, properties, and decorated functions."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    accessors = (member.fget, member.fset) if isinstance(member, property) else (member,)
    for each in accessors:
        inner = inspect.unwrap(each) if callable(each) else each
        inner = getattr(inner, "func", inner)
        if isinstance(inner, FunctionType):
            yield inner


def _is_known(function: FunctionType, known: Container[Path]) -> bool:
    """Return whether a function is in a hashed file, an installed package or the core, or was generated there."""
    name = function.__code__.co_filename
    if name == "<string>":
        return function.__module__ != "__main__"
    real = os.path.realpath(name)
    return Path(real) in known or is_installed(name) or real.startswith(CORE_FOLDER)


def _has_file(cls: type) -> bool:
    try:
        return Path(inspect.getfile(cls)).is_file()
    except (TypeError, OSError):
        return False


def _describe_code(code: CodeType) -> str:
    """Describe a function by its instructions, names and constants, with those of inner functions."""
    constants = [
        _describe_code(each) if isinstance(each, CodeType) else _repr(each) for each in code.co_consts
    ]
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{constants}"


def _repr(constant: object) -> str:
    """Return a constant as text; a set is sorted, because its order differs from process to process."""
    return f"{{{sorted(map(repr, constant))}}}" if isinstance(constant, frozenset) else repr(constant)
