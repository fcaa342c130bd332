"""Hash of code that is in no file: classes of a notebook or an interactive session, replaced functions.

Such code is known by its compiled form alone, so the hash covers the instructions and constants of the
functions of a class, of the session's functions and classes that they use, and of plain values among these.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Container, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from fssbench.plugins.execution import CORE_FOLDER, is_installed

_PLAIN = (int, float, complex, str, bytes, bool, type(None))


def live_sha256(cls: type, *, base: type, known: Container[Path]) -> str | None:
    """Hash the code of a class that no known file contains.

    Args:
        cls: the plugin class.
        base: the contract it derives from; what it defines does not count.
        known: real paths of the files that are hashed otherwise.

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
                waiting += [(f"{name}.{key}", each) for each in _functions(member)]
                if inspect.isclass(member) and member.__module__ == "__main__":
                    waiting.append((f"{name}.{key}", member))  # its settings, for example
                if whole and isinstance(member, _PLAIN) and not key.startswith("__"):
                    parts.append(f"{name}.{key}={member!r}")
        elif isinstance(value, FunctionType) and not _is_known(value, known):
            defaults = [each for each in value.__defaults__ or () if isinstance(each, _PLAIN)]
            parts.append(f"{name}:{_text(value.__code__)}:{defaults}")
            for used in sorted(_names(value.__code__)):
                target = value.__globals__.get(used)
                if isinstance(target, _PLAIN):
                    parts.append(f"{used}={target!r}")
                elif isinstance(target, FunctionType) or (
                    inspect.isclass(target) and target.__module__ == "__main__"
                ):
                    waiting.append((used, target))
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest() if parts else None


def _functions(member: Any) -> Iterator[FunctionType]:
    """Functions behind a member of a class: methods, properties, and what decorators wrap."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    accessors = (member.fget, member.fset) if isinstance(member, property) else (member,)
    for each in accessors:
        inner = inspect.unwrap(each) if callable(each) else each
        inner = getattr(inner, "func", inner)
        if isinstance(inner, FunctionType):
            yield inner


def _is_known(function: FunctionType, known: Container[Path]) -> bool:
    """Whether a function is in a hashed file, an installed package or the core, or generated for a class there."""
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


def _text(code: CodeType) -> str:
    """Instructions, names and constants of a function, those inside it included."""
    constants = [_text(each) if isinstance(each, CodeType) else _repr(each) for each in code.co_consts]
    return f"{code.co_code.hex()}{code.co_names}{code.co_varnames}{constants}"


def _repr(constant: object) -> str:
    """The constant as text; the order of a set differs from process to process."""
    return f"{{{sorted(map(repr, constant))}}}" if isinstance(constant, frozenset) else repr(constant)


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            names |= _names(each)
    return names
