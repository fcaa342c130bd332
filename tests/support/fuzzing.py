"""Hostile command lines and hostile files, and what the command may answer to them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from click.testing import Result
from hypothesis import strategies as st
from PIL import Image

from fssbench.cli import VERBS, main

ALLOWED = {0, 2, 3, 4, 5}
"""Exit codes of a command that was not interrupted and found no bug in fssbench."""
NEVER = {"--download", "--pdb", "--help", "--yes"}
"""Options that would open a connection, wait for a person, or print the help."""
NAMES = (
    "panet",
    "pmnet",
    "pascal-to-chestxray",
    "pascal5i",
    "chestxray",
    "resnet50",
    "cross-domain",
    "random",
)
TEXTS = (
    "",
    " ",
    "-",
    "--",
    ".",
    "..",
    "/",
    "~",
    "~nobody-of-this-name/x",
    "a=b",
    "=",
    "x" * 300,
    "x/" * 2000,
    "\x1b[31mred",
    "a\x9b31mb\u202ec",
    "\udcff\udcfe",
    "日本語",
    "a\nb",
    "%s{0}{fold}{nothing}",
    "[/red]",
    "1/0",
    "0/1",
    "mini",
    "*.toml",
    "http://user:secret@host/x",
    "/dev/null",
    "/proc/self/mem",
)
NUMBERS = (
    "0",
    "1",
    "-1",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "1.5",
    "2147483648",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "٣",
    "1_0",
)


def list_commands() -> dict[str, click.Command]:
    """List every verb, and every verb of a group, by its words."""
    context = click.Context(main)
    commands: dict[str, click.Command] = {}
    for verb in VERBS:
        command = main.get_command(context, verb)
        if isinstance(command, click.Group):
            commands |= {f"{verb} {name}": sub for name, sub in command.commands.items()}
        else:
            commands[verb] = command
    return commands


SOUND = (
    "run -m panet -b pascal-to-chestxray -k 1 --data mini --episodes 1 --size 32 --panels 0 -q -o runs",
    "run -m pmnet -m panet -b pascal-to-isic2018 -k 1 --data mini --episodes 1 --size 32 --json -o runs --first 1",
    "train -m pmnet -b pascal5i --data mini --steps 1 --size 32 --batch 1 --val-episodes 0 -o trained",
    "predict picture.png -m panet --support picture.png mask.png --size 32 -o predicted",
    "bench -m panet -k 1 --size 32 --repeats 1",
    "episodes pascal-to-chestxray --data mini --rows 1 --json -o plan.json",
    "show panet --json",
    "show plan.json",
    "list methods --json",
    "list runs --out runs --json",
    "report runs -o report --format html,json,csv",
    "score runs --json",
    "compare panet pmnet --out runs",
    "power runs --diff 1",
    "verify runs --episodes 0 --data mini",
    "merge run -o merged",
    "leaderboard runs -o site",
    "data verify chestxray --data mini",
    "data mini drawn --dataset chestxray",
    "data splits empty --into splits",
    "data prepare isic2018 empty --data prepared",
    "data adopt empty --name own",
    "cache --json",
    "env --json",
    "new method mine",
    "check empty.py --size 32",
)
"""Sound command lines; `make_paths` makes most of what they name."""


@st.composite
def changed_lines(draw: st.DrawFn, commands: dict[str, click.Command], paths: tuple[str, ...]) -> list[str]:
    """Draw a sound command line and harm it at one or two places: another value, another option, a word less.

    Args:
        draw: given by hypothesis.
        commands: the commands by their words.
        paths: files and folders that exist, of every kind.
    """
    line = draw(st.sampled_from(SOUND)).split()
    words = next(w for w in sorted(commands, key=len, reverse=True) if " ".join(line).startswith(w))
    first = len(words.split())
    options = [o for o in commands[words].params if isinstance(o, click.Option) and not NEVER & set(o.opts)]
    values = st.one_of(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(paths))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(first, len(line)))
        match draw(st.sampled_from(("replace", "replace", "add", "add", "remove"))):
            case "replace" if place < len(line):
                line[place] = draw(values)
            case "remove" if place < len(line):
                del line[place]
            case _:
                option = draw(st.sampled_from(options))
                line += [option.opts[0]] if option.is_flag else [option.opts[0], draw(values)]
    return line


@st.composite
def command_lines(draw: st.DrawFn, commands: dict[str, click.Command], paths: tuple[str, ...]) -> list[str]:
    """Draw a verb, some of its options, and values that no one would expect.

    Args:
        draw: given by hypothesis.
        commands: the commands by their words.
        paths: files and folders that exist, of every kind.
    """
    words = draw(st.sampled_from(sorted(commands)))
    values = st.one_of(
        st.sampled_from(NAMES), st.sampled_from(TEXTS), st.sampled_from(NUMBERS), st.sampled_from(paths)
    )
    line = words.split()
    for parameter in commands[words].params:
        if not isinstance(parameter, click.Option):
            line += draw(st.lists(values, max_size=2))
        elif (parameter.required or draw(st.integers(0, 4)) == 0) and not NEVER & set(parameter.opts):
            line.append(parameter.opts[0])
            line += [] if parameter.is_flag else [draw(values)]
    return line


def make_paths(folder: Path) -> tuple[str, ...]:
    """Make files and folders of every kind, and return their names relative to the folder."""
    (folder / "empty").mkdir()
    (folder / "empty.toml").write_text("")
    (folder / "list.toml").write_text("a = [1, [2]]\n")
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    (folder / "null.json").write_text("null")
    (folder / "broken.json").write_text('{"schema": ')
    (folder / "list.json").write_text("[1, 2]")
    (folder / "empty.py").write_text("")
    (folder / "weights.pth").write_bytes(b"\x80\x02.")
    (folder / "w.safetensors").write_bytes(b"\xff" * 16)
    (folder / "circle").symlink_to("circle")
    (folder / "nowhere").symlink_to("not-there")
    Image.new("RGB", (40, 40), (90, 20, 20)).save(folder / "picture.png")
    Image.fromarray(np.eye(40, dtype=bool)).save(folder / "mask.png")
    run = folder / "run"
    run.mkdir()
    (run / "manifest.json").write_text('{"schema": 1}')
    return tuple(sorted(path.name for path in folder.iterdir()))


def find_faults(result: Result) -> Iterator[str]:
    """Yield what is wrong with the outcome of a command: a traceback, an unknown exit code, raw controls."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        yield f"{type(result.exception).__name__}: {str(result.exception)[:300]}"
    elif result.exit_code not in ALLOWED:
        yield f"exit code {result.exit_code}"
    if "Traceback (most recent call last)" in result.output:
        yield "a traceback"
    raw = {c for c in result.output if c not in "\n\t" and unicodedata.category(c) in {"Cc", "Cf", "Cs"}}
    if raw:
        yield f"raw control characters {sorted(map(ascii, raw))}"


def as_toml(value: object) -> str:
    """Write a value as TOML: keys quoted, `None` as an empty text, without surrogates."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{as_toml(str(key))} = {as_toml(each)}' for key, each in value.items())}}}"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000) + '"'
    return repr(value) if value is not None else '""'
