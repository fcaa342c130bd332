"""Reads the options of a command from a TOML file (`--config`): each key is an option, and its value has its type."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fssbench.errors import DataError, UsageError, make_unknown_error
from fssbench.files.regular import MEBIBYTE
from fssbench.files.text import read_text

_LARGEST = 4 * MEBIBYTE
"""Size of the largest configuration that is read, in bytes."""
_LONGEST = 60
"""Characters of a value that a message shows."""


def read_config(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    """Read options from a TOML file; options of the command line take precedence.

    Raises:
        UsageError: if the file cannot be read, for an unknown key, or for a value of another type.
    """
    if value is None:
        return
    options = {
        parameter.opts[0].lstrip("-"): parameter
        for parameter in ctx.command.params
        if isinstance(parameter, click.Option) and parameter.name != "config"
    }
    defaults: dict[str, Any] = {}
    for key, entry in _read_toml(value).items():
        if key not in options:
            raise make_unknown_error(
                f"key of {value}", key, options, hint="Next: `fssbench run --help` lists the options"
            )
        option = options[key]
        assert option.name is not None
        try:
            defaults[option.name] = _convert(option, entry)
        except ValueError as problem:
            raise UsageError(
                f"--config {value}: {key} = {_show(entry)} is not allowed: {problem}. "
                "Next: `fssbench run --help` describes the option"
            ) from None
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _read_toml(value: str) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(Path(value), most=_LARGEST))
    except OSError as error:
        raise UsageError(f"--config {value} cannot be read ({error.strerror})") from None
    except DataError as error:
        raise UsageError(f"--config {error}") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # TOMLDecodeError is a ValueError, as is a number of 5,000 digits
        raise UsageError(f"--config {value} is not valid TOML ({error})") from None


def _convert(option: click.Option, entry: Any) -> Any:
    """Return an entry as the option takes it.

    Raises:
        ValueError: if its type does not fit, with the types that are allowed.
    """
    if option.is_flag:
        if not isinstance(entry, bool):
            raise ValueError("it takes true or false")
        return entry
    if not option.multiple and isinstance(entry, list | dict):
        raise ValueError(f"it takes one value, not a {'list' if isinstance(entry, list) else 'table'}")
    if not option.multiple:
        return _convert_one(option.type, entry)
    if option.opts[0] == "--set" and isinstance(entry, dict):
        return [*_list_settings(entry)]
    return [_convert_one(option.type, each) for each in (entry if isinstance(entry, list) else [entry])]


def _list_settings(table: dict[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"the setting {key} takes a text, a number, true or false")
        yield f"{key}={_require_plain(value) if isinstance(value, str) else value}"


def _convert_one(kind: object, entry: Any) -> Any:
    if isinstance(entry, str):
        return _require_plain(entry)  # click converts texts, as it does for the command line
    if isinstance(kind, click.types.IntParamType):
        if isinstance(entry, bool) or not isinstance(entry, int):
            raise ValueError("it takes a whole number")
        return entry
    if isinstance(kind, click.types.FloatParamType):
        if isinstance(entry, bool) or not isinstance(entry, int | float) or not math.isfinite(entry):
            raise ValueError("it takes a number")
        return entry
    raise ValueError("it takes a text")


def _require_plain(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


def _show(entry: Any) -> str:
    try:
        text = repr(entry)
    except ValueError:  # Python refuses to print a number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
