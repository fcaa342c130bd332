"""`classes.txt` and `palette.csv`: the names that a user gives to values and colours of masks."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from fssbench.api import DataError, read_lines

NAMES_FILE = "classes.txt"
PALETTE_FILE = "palette.csv"
_BACKGROUND = {"background", "_background_", "bg", "__background__"}
_NUMBERED = re.compile(r"(\d{1,3})\s*[\s:,;=\t]\s*(\S.*)")
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


def read_class_names(root: Path) -> dict[int, str] | None:
    """Read `classes.txt`: the name of each value; None if there is no such file.

    Lines are `VALUE NAME`, or names alone.  Names alone begin with value 1, or with 0 if the first name is
    `background`.  Background itself is no class.

    Raises:
        DataError: if a line is malformed, or a value or name occurs twice.
    """
    path = root / NAMES_FILE
    try:
        lines = [(number, line) for number, line in read_lines(path) if not line.startswith("#")]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    numbered = [_NUMBERED.fullmatch(line) for _, line in lines]
    names: dict[int, str] = {}
    if lines and all(numbered):
        pairs = [(int(match[1]), match[2].strip()) for match in numbered if match]
    else:
        first = 0 if lines and lines[0][1].casefold() in _BACKGROUND else 1
        pairs = [(first + place, line) for place, (_, line) in enumerate(lines)]
        odd = [line for (_, line), match in zip(lines, numbered, strict=True) if match]
        if odd:
            raise DataError(
                f"{path} mixes lines `VALUE NAME` ({odd[0]!r}) with lines of names alone. Next: write the "
                "value in every line"
            )
    for value, name in pairs:
        if value > 255 or value in names or name in names.values():
            raise DataError(
                f"{path}: the value {value} or the name {name!r} occurs twice, or is above 255. Next: correct it"
            )
        if name.casefold() in _BACKGROUND:
            if value != 0:
                raise DataError(
                    f"{path}: the background has the value {value}, but must have 0. Next: correct it"
                )
            continue
        names[value] = name
    if not names:
        raise DataError(f"{path} names no class. Next: write one name per line, or delete the file")
    return names


def has_values(root: Path) -> bool:
    """Return whether `classes.txt` states the value of each name, or begins with the background."""
    lines = [line for _, line in read_lines(root / NAMES_FILE) if not line.startswith("#")]
    return all(map(_NUMBERED.fullmatch, lines)) or lines[0].casefold() in _BACKGROUND


def read_palette(root: Path) -> dict[str, tuple[int, int, int]] | None:
    """Read `palette.csv`: the colour of each name; None if there is no such file.

    Lines are `RED,GREEN,BLUE,NAME`, `NAME,RED,GREEN,BLUE`, `#RRGGBB,NAME` or `NAME,#RRGGBB`; a first line without a
    colour is a heading.

    Raises:
        DataError: if a line is malformed, or a colour or name occurs twice.
    """
    path = root / PALETTE_FILE
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    colours: dict[str, tuple[int, int, int]] = {}
    for place, (number, line) in enumerate(lines):
        delimiter = next((each for each in ",;\t" if each in line), ",")
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
        parsed = _parse_row([cell for cell in cells if cell])
        if parsed is None:
            if place == 0 and not any(re.search(r"\d", cell) for cell in cells):
                continue
            raise DataError(
                f"{path}, line {number}: {line!r} is no class. Next: write `RED,GREEN,BLUE,NAME` with numbers "
                "from 0 to 255, "
                "or `#RRGGBB,NAME`"
            )
        name, colour = parsed
        if name in colours or colour in colours.values():
            raise DataError(
                f"{path}, line {number}: the name {name!r} or its colour occurs twice. Next: correct it"
            )
        colours[name] = colour
    if not colours:
        raise DataError(f"{path} holds no class. Next: write `RED,GREEN,BLUE,NAME`, one class per line")
    return colours


def _parse_row(cells: list[str]) -> tuple[str, tuple[int, int, int]] | None:
    if len(cells) == 4:
        for name, numbers in ((cells[3], cells[:3]), (cells[0], cells[1:])):
            if all(cell.isdecimal() and int(cell) <= 255 for cell in numbers):
                red, green, blue = map(int, numbers)
                return name, (red, green, blue)
    if len(cells) == 2:
        for name, cell in (cells[::-1], cells):
            if match := _HEX.fullmatch(cell):
                red, green, blue = bytes.fromhex(match[1])
                return name, (red, green, blue)
    return None
