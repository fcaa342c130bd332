"""Finds the code blocks of README and documentation, and what each page says about testing them.

A comment before a block, `<!-- test: WORDS -->`, says how it is tested.  Without one it is run.

    run with OPTIONS   the options are added to those commands that know them, so that the test is short
    parse: REASON      the commands are compared with click's tree, the Python is compiled; nothing is run
    slow               run by `pytest -m slow`, and parsed always
    exit CODE          the last command ends with this exit code
    file NAME          the text is written to a file; so is Python that begins with `\"""NAME.py:`
    output             the lines stand in what the block before printed; `...` stands for anything

A comment for the whole page, `<!-- test page: WORDS -->`, takes the same words for all its blocks, or

    after COMMAND      the command is run before the first block, in the page's folder
    given THING        the thing lies in the page's folder; tests/support/doc_things.py makes it
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_COMMENT = re.compile(r"\s*<!-- test(?P<page> page)?: (?P<words>.*?) -->\s*$")
_FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,})(?P<language>[\w-]*)\s*(?:\{.*\})?$")
_FILE = re.compile(r'\s*(?:r?"""|# )(?P<name>[\w/-]+\.(?:py|toml|csv|txt|json))\b')
_SHELL = re.compile(r"(fssbench|python|pip|pytest|torchrun|export|git|cd|ruff|mypy|mkdocs|\.ci/run|\.)( |$)")
SHELL = ("sh", "bash", "shell", "console")


@dataclass(frozen=True)
class Block:
    """One code block of a page."""

    line: int
    """Number of its first line, from 1."""
    language: str
    """Word after the fence; `sh` for an indented block of commands, `text` for another indented block."""
    text: str
    how: str = "run"
    """`run`, `parse`, `slow`, `exit`, `file` or `output`."""
    words: str = ""
    """What follows that word in the comment."""


@dataclass
class DocPage:
    """The blocks of one page, in order."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    """Commands that are run first."""
    given: list[str] = field(default_factory=list)
    """Things that lie in the page's folder."""
    inline: list[tuple[int, str]] = field(default_factory=list)
    """Commands in running text, each with its line."""


def read_page(path: Path) -> DocPage:
    """Read the blocks of a page.

    Raises:
        ValueError: for a comment that is not one of those above, or that no block follows.
    """
    page = DocPage(path)
    default = comment = ""
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        match = _COMMENT.match(line)
        if match and match["page"]:
            kind, _, rest = match["words"].partition(" ")
            if kind == "after":
                page.after.append(rest)
            elif kind == "given":
                page.given.append(rest)
            else:
                default = match["words"]
            number += 1
        elif match:
            comment = match["words"]
            number += 1
        elif block := _take_block(lines, number):
            first, number, language, text = block
            page.blocks.append(_make_block(path, first, language, text, comment or default))
            comment = ""
        else:
            if comment and line.strip():
                raise ValueError(f"{path}:{number + 1}: no code block follows the comment `test: {comment}`")
            page.inline += [(number + 1, span) for span in re.findall(r"`(fssbench [^`]+)`", line)]
            number += 1
    return page


def _take_block(lines: list[str], number: int) -> tuple[int, int, str, str] | None:
    """The block that begins at a line: number of its first line of text, number after it, language, text."""
    if fence := _FENCE.match(lines[number]):
        end = next(
            (n for n in range(number + 1, len(lines)) if lines[n].strip() == fence["fence"]), len(lines)
        )
        indent = len(fence["indent"])
        text = "\n".join(line[indent:] for line in lines[number + 1 : end])
        return number + 2, end + 1, fence["language"] or "text", text + "\n"
    if lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
        if not _SHELL.match(lines[number].strip()):
            return None  # a paragraph of a list
        end = number
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
        return number + 1, end, "sh", "\n".join(line[4:] for line in lines[number:end]) + "\n"
    return None


def _make_block(path: Path, line: int, language: str, text: str, comment: str) -> Block:
    name = _FILE.match(text)
    if not comment and name and language in {"python", "toml", "csv", "json", "text"}:
        return Block(line, language, text, "file", name["name"])
    if not comment:
        return Block(line, language, text)
    how, _, words = comment.partition(" ")
    how = how.rstrip(":")
    if how not in {"run", "parse", "slow", "exit", "file", "output"}:
        raise ValueError(f"{path}:{line}: the comment `test: {comment}` is not known")
    if how == "parse" and not words:
        raise ValueError(f"{path}:{line}: a block that is only parsed says why, `test: parse: REASON`")
    return Block(line, language, text, how, words.removeprefix("with ").strip())


def split_commands(text: str) -> Iterator[str]:
    """Yield the commands of a shell block, one per line; a backslash continues a line."""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip().removeprefix("$ ")
        if line and not line.startswith("#"):
            yield line
