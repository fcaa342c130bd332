r"""Removes private facts from a text: folders, user names, host names, secrets.

The manifest of a run is copied into reports, leaderboards and supplements, and a reviewer must not learn who made
it.  Every absolute path (`/scratch/anna/data`, `~anna/data`, `C:\Users\anna\data`, `\\nas\anna`,
`file:///home/anna/data`) is shortened to its last part: `.../data`.  The names of the present user and host
are removed everywhere.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import platform
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fssbench.errors import DataError
from fssbench.files.regular import open_regular
from fssbench.files.secrets import HIDDEN as HIDDEN, hide_in_text, is_secret

_ROOT = r"(?:file:/+|~[\w.-]*[/\\]|/(?![\s/]|$)|[A-Za-z]:[\\/]|\\\\(?=[\w.])|\.\.[\\/])"
"""Beginning of a path that is absolute or leads out of the current folder."""
_HOME = re.compile(r"(?<![\w/])~[A-Za-z_][\w.-]*(?![\w./\\-])")
"""The home folder of a named user."""
_GLUED = re.compile(rf"^(-[A-Za-z])({_ROOT}.*)$", re.IGNORECASE)
_WHOLE = re.compile(rf"^{_ROOT}", re.IGNORECASE)
_QUOTED = re.compile(rf"""(?P<mark>['"`])(?P<path>{_ROOT}[^'"`]*)(?P=mark)""", re.IGNORECASE)
_WITHIN = re.compile(rf"(?<![\w.~/\\-]){_ROOT}[^\s'\"`,;:|<>()\[\]{{}}=]*", re.IGNORECASE)
_SEPARATOR = re.compile(rf"([:,;|])(?={_ROOT})", re.IGNORECASE)
"""Separator between two paths of a list."""
_ORDINARY = {
    "root",
    "user",
    "users",
    "home",
    "data",
    "run",
    "runs",
    "test",
    "admin",
    "ubuntu",
    "localhost",
    "local",
}
"""User and host names that do not identify a person."""


def redact(arguments: Sequence[str]) -> list[str]:
    """Remove secrets, absolute paths, user name and host name from command-line arguments."""
    kept, hide = [], False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        secret = is_secret(name, value)
        if hide:
            kept.append(HIDDEN)
        elif secret and equals:
            kept.append(f"{name}={HIDDEN}")
        elif equals and re.fullmatch(r"[\w.-]+", name):
            kept.append(f"{name}={redact([value])[0]}")
        else:
            kept.append(_redact_argument(argument))
        hide = not hide and secret and not equals and argument.startswith("-")
    return kept


def redact_text(text: str) -> str:
    """Remove absolute paths, credentials, user name and host name from a text."""
    text = hide_in_text(text)
    text = _HOME.sub("~", text)
    text = _QUOTED.sub(lambda m: f"{m['mark']}{shorten(m['path'])}{m['mark']}", text)
    return _remove_names(_WITHIN.sub(lambda m: shorten(m[0]), text))


def redact_value(name: str, value: Any) -> Any:
    """Return a setting of any type in the form that may be published: without secrets and paths.

    Args:
        name: name of the setting; the value of a secret is hidden.
        value: a JSON value or a path.
    """
    if isinstance(value, Mapping):
        return {key: redact_value(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(name, each) for each in value]
    if isinstance(value, str | Path):
        return HIDDEN if value and is_secret(name, str(value)) else _redact_argument(str(value))
    return value


def identify_value(name: str, value: Any) -> Any:
    """Return a setting in the form that an identity holds: equal for equal content, without path and secret.

    An absolute path is replaced by its last part and a hash of the content at that path, a secret by
    a slow hash, also where it is a part of a value, such as the password in an address.  Other
    values are returned unchanged.
    """
    if isinstance(value, Mapping):
        return {key: identify_value(str(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [identify_value(name, each) for each in value]
    if not isinstance(value, str) or not value:
        return value
    if is_secret(name, value):
        return f"[hidden:{_hash_slowly(value)}]"
    if (hidden := hide_in_text(value)) != value:
        return f"{hidden}#{_hash_slowly(value)}"
    if not _WHOLE.match(value):
        return value
    content = _hash_content(Path(os.path.expanduser(value.removeprefix("file://"))))  # noqa: PTH111 - an unknown home is no error
    return f"{shorten(value)}{f'#{content}' if content else ''}"


@functools.cache
def _hash_slowly(secret: str) -> str:
    """Hash a secret so that two of them are told apart, and guessing one takes long."""
    text = secret.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=b"fssbench", n=2**14, r=8, p=1, dklen=8).hex()


def shorten(path: str) -> str:
    """Replace all but the last part of an absolute path by three dots; in a list of paths, for each path."""
    parts = _SEPARATOR.split(path)
    return "".join(part if part in ":,;|" else _shorten_one(part) for part in parts)


def _shorten_one(path: str) -> str:
    names = [name for name in re.split(r"[/\\]", path) if name]
    if _WHOLE.match(path) is None or not names:
        return path
    alone = len(names) == 1 and (names[0].startswith("~") or names[0].endswith(":"))
    return "..." if alone else f".../{_remove_names(names[-1])}"


def _redact_argument(text: str) -> str:
    """Redact an argument or value.  If it begins like a path, all of it is a path, blanks included."""
    if glued := _GLUED.match(text):
        return glued[1] + _redact_argument(glued[2])
    if _WHOLE.match(text) and "\n" not in text:
        return _remove_names(shorten(text))
    return redact_text(text)


def _hash_content(path: Path) -> str:
    """Hash a file, or the names and content of all files in a folder; empty if the path does not exist."""
    total = hashlib.sha256()
    try:
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.is_file()):
                total.update(f"{file.relative_to(path).as_posix()}\0".encode())
                with file.open("rb") as opened:
                    total.update(hashlib.file_digest(opened, "sha256").digest())
        else:
            with open_regular(path) as opened:
                total.update(hashlib.file_digest(opened, "sha256").digest())
    except (OSError, ValueError, DataError):  # absent, unreadable, a name with NUL, or a pipe or device
        return ""
    return total.hexdigest()[:16]


def _list_names() -> dict[str, str]:
    """List the names of this user and this host, each with its replacement."""
    users = {os.environ.get("SUDO_USER", "")}
    for ask in (getpass.getuser, lambda: Path.home().name):
        try:
            users.add(ask())
        except (OSError, KeyError, RuntimeError, ImportError):  # no HOME, no passwd entry
            continue
    hosts = {socket.gethostname(), platform.node()}
    hosts |= {host.partition(".")[0] for host in hosts}
    names = {**dict.fromkeys(hosts, "[host]"), **dict.fromkeys(users, "[user]")}
    return {n: say for n, say in names.items() if len(n) > 2 and n.lower() not in _ORDINARY}


def _remove_names(text: str) -> str:
    for name, say in sorted(_list_names().items(), key=lambda item: -len(item[0])):
        if name.lower() in text.lower():
            text = re.sub(
                rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", say, text, flags=re.IGNORECASE
            )
    return text
