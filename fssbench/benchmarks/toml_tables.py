"""Reads TOML files of a known form; every wrong key or value gets one sentence with what is allowed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from fssbench.contracts.records import Record
from fssbench.errors import DataError, UsageError, make_unknown_error
from fssbench.files.home import expand_home
from fssbench.files.text import read_text

SUFFIX = ".toml"
_FILE = re.compile(r"(?P<file>.+\.toml)(?::(?P<variant>[^/\\:]*))?", re.IGNORECASE | re.DOTALL)

T = TypeVar("T", bound=Record)
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)]
"""It becomes part of folder names and of commands."""
_PLAIN = "of lower-case letters, digits, dots, dashes and underscores, and begin with a letter or digit"


def _require_line(text: str) -> str:
    """Refuse line breaks and other characters that cannot be printed: reports and terminals show the text."""
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


Line = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_require_line)]


class Table(Record):
    """A table of a file; a key that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def is_file_name(name: str | Path) -> bool:
    """Return whether a name is that of a file and not an id: it ends in `.toml`, or in `.toml:VARIANT`.

    Example:
        >>> [is_file_name(n) for n in ("coco20i:contiguous", "skin.toml", "my/skin.toml:dark")]
        [False, True, True]
    """
    return _FILE.fullmatch(str(name)) is not None


def split_file_name(name: str) -> tuple[str, str | None]:
    """Split the name of a file from the name of a variant.

    Example:
        >>> split_file_name("my/skin.toml:dark")
        ('my/skin.toml', 'dark')
    """
    match = _FILE.fullmatch(name)
    return (match["file"], match["variant"]) if match else (name, None)


def read_format(path: Path) -> str | None:
    """Read which format a TOML file says it has; None if it says none.

    Raises:
        DataError: if the file cannot be read.
        UsageError: if it is not valid TOML.
    """
    given = _load(path, "").get("format")
    return given if isinstance(given, str) else None


def read_table(path: Path, form: type[T], format_name: str, start: str) -> T:
    """Read a TOML file of a given form.

    Args:
        path: the file.
        form: the record of its keys.
        format_name: value of its key `format`.
        start: the next command, for the messages.

    Raises:
        DataError: if the file cannot be read.
        UsageError: if it is not valid TOML or has other keys or values.
    """
    content = _load(path, start)
    if content.get("format") != format_name:
        given = f"is {content['format']!r}" if "format" in content else "is missing"
        raise UsageError(f'{path}: key format {given}, but must be format = "{format_name}". {start}')
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {_explain_error(error, form)}. {start}") from None


def _load(path: Path, start: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(expand_home(path)))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}). {start}".rstrip()) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML ({error}). {start}".rstrip()) from None


def _explain_error(error: ValidationError, form: type[Record]) -> str:
    """Say in one sentence what is wrong with a file: the key, its value, and what is allowed."""
    problems = error.errors(include_url=False)
    first = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
    *parents, key = first["loc"]
    place = ".".join(map(str, [*parents, key]))
    if first["type"] == "extra_forbidden":
        table = f"[{'.'.join(map(str, parents))}]" if parents else "the file"
        known = _find_form(form, parents).model_fields
        return str(make_unknown_error(f"key of {table}", str(key), known)).rstrip(".")
    if first["type"] == "missing":
        return f"key {place} is missing"
    if first["type"] == "string_pattern_mismatch":
        return f"key {place} is {first['input']!r}, but must be {_PLAIN}"
    allowed = re.sub(r"^(Input|String|Tuple|List|Value error,|Value) ?(should|must)?", "must", first["msg"])
    return f"key {place} is {first['input']!r}, but {allowed}"


def _find_form(form: type[Record], parents: Sequence[Any]) -> type[Record]:
    """Find the form of a table inside a file by the keys that lead to it."""
    for parent in parents:
        if parent in form.model_fields:
            form = next(_list_forms(form.model_fields[parent].annotation), form)
    return form


def _list_forms(annotation: Any) -> Any:
    """Yield the forms that a type contains."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _list_forms(part)
