"""Every command and every Python block of README and documentation is run, or parsed where a page says why.

The comments that a page may hold are described in tests/support/doc_blocks.py.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
from doc_blocks import SHELL, Block, DocPage, read_page, split_commands
from doc_shell import find_fssbench_words, parse_words, run_line
from doc_things import THINGS
from made_once import put_mini_into_cache
from places import DOCS, ROOT
from slow_tests import read_slow_tests

from fssbench.efficiency import measure
from fssbench.errors import FssbenchError
from fssbench.loading import load

FILES = [
    ROOT / "README.md",
    *(file for name in ("CONTRIBUTING.md", "SECURITY.md") if (file := ROOT / name).is_file()),
    *sorted(DOCS.rglob("*.md")),
    ROOT / "methods" / "checkpoints" / "README.md",
]
PAGES = {str(file.relative_to(ROOT)): read_page(file) for file in FILES}
SHORT = ("--size", "64", "--resamples", "50")
"""Options that shorten commands that know them.  Commands of the README and predictions keep their size."""
build_once = cache(load.build_backbone)
"""Builds a backbone once for all pages; it is frozen, and its network is the same whoever reads it."""
WITH_BLOCKS = [name for name, page in PAGES.items() if page.blocks]


@pytest.fixture(scope="module")
def doc_cache(tmp_path_factory: pytest.TempPathFactory, mini: Path) -> Path:
    """One cache for all pages; `--data mini` reads the miniature of the session there, which is drawn already."""
    cache = tmp_path_factory.mktemp("cache")
    put_mini_into_cache(mini, cache)
    return cache


@pytest.fixture
def place(tmp_path: Path, doc_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a reader; what a page exports is forgotten afterwards."""
    before = dict(os.environ)
    monkeypatch.setenv("FSSBENCH_CACHE", str(doc_cache))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setattr(measure, "measure_in_subprocess", measure.measure)  # a child adds nothing here
    monkeypatch.setattr(load, "build_backbone", build_once)
    folder = tmp_path / "reader"
    folder.mkdir()
    yield folder
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture
def stand_ins(mini: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """What the placeholders of the pages stand for when their commands are run; empty for what is absent here."""
    try:
        splits = str(request.getfixturevalue("shared") / "golden" / "splits")
    except pytest.skip.Exception:
        splits = ""
    return {"DATA": str(mini), "DIR": str(mini), "SPLITS": splits}


def check_block(page: DocPage, block: Block) -> None:
    """Parse a block without running it: commands against click's tree, Python by its compiler."""
    where = f"{page.path}:{block.line}"
    if block.language in SHELL:
        for command in split_commands(block.text):
            words = find_fssbench_words(command)
            if words is not None:
                try:
                    parse_words(words)
                except click.UsageError as error:
                    raise AssertionError(f"{where}: `{command}`: {error.format_message()}") from None
    elif block.language == "python":
        compile(block.text, where, "exec")


def run_page(page: DocPage, folder: Path, names: dict[str, str], *, slow: bool) -> None:
    """Run the blocks of a page in order, as a reader would."""
    for block in page.blocks:
        if block.how == "file":  # a page may show a command before the file that it needs
            (folder / block.words).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.words).write_text(block.text)
    for thing in page.given:
        THINGS[thing](folder)
    for command in page.after:
        run_line(command, folder, names, [])
    namespace: dict[str, object] = {"__name__": "page"}
    printed = ""
    for block in page.blocks:
        if block.how in {"parse", "file"} or (block.how == "slow" and not slow):
            continue
        if (folder / "DIR").is_dir():
            names = {**names, "DIR": "DIR"}
        stored = next((folder / "runs").glob("*/manifest.json"), None)
        if stored is not None:
            names = {**names, "RUN": stored.parent.name}
        if block.language in SHELL and any(not names.get(word, word) for word in block.text.split()):
            continue  # a list or a data set that this machine lacks
        if block.how == "output":
            compare_output(page, block, printed)
        elif block.language in SHELL:
            printed = run_commands(block, folder, names, [] if page.path.name == "README.md" else list(SHORT))
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.chdir(folder), contextlib.redirect_stdout(out):
                exec(compile(block.text, f"{page.path}:{block.line}", "exec"), namespace)
            printed = out.getvalue()


def run_commands(block: Block, folder: Path, names: dict[str, str], short: list[str]) -> str:
    extra = shlex.split(block.words) if block.how in {"run", "slow"} else []
    commands = list(split_commands(block.text))
    codes = [0] * len(commands)
    if block.how == "exit":
        codes[-1] = int(block.words)
    return "".join(
        run_line(command, folder, names, extra if "predict" in command else [*extra, *short], code)
        for command, code in zip(commands, codes, strict=True)
    )


def compare_output(page: DocPage, block: Block, printed: str) -> None:
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for line in block.text.splitlines():
        pattern = " ".join(line.split()).replace("[", "[[]").replace("...", "*").replace("…", "*")
        assert any(fnmatch.fnmatchcase(seen, pattern) for seen in lines), (
            f"{page.path}:{block.line}: {line!r} was not printed:\n{printed}"
        )


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_commands_and_python_of_a_page_parse(name: str) -> None:
    for block in PAGES[name].blocks:
        check_block(PAGES[name], block)


@pytest.mark.parametrize("name", list(PAGES))
def test_commands_in_running_text_parse(name: str) -> None:
    for line, command in PAGES[name].inline:
        words = shlex.split(command)[1:]
        if not re.search(r"\.\.\.|\w\|\w", command) and words[0].islower():
            try:
                parse_words(words, whole=False)
            except click.UsageError as error:
                raise AssertionError(f"{name}:{line}: `{command}`: {error.format_message()}") from None


def _runs(page: DocPage, *hows: str) -> bool:
    return any(block.how in hows and block.language in (*SHELL, "python") for block in page.blocks)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name in WITH_BLOCKS if _runs(PAGES[name], "run", "exit")])
def test_page_runs(name: str, place: Path, stand_ins: dict[str, str]) -> None:
    run_page(PAGES[name], place, stand_ins, slow=False)


def list_options_that_run(page: DocPage) -> set[tuple[str, str]]:
    """List the verbs that a page runs, each with every option that it gives, by the option's long name."""
    options = set()
    for block in page.blocks:
        if block.language in SHELL and block.how in {"run", "exit"}:
            for words in filter(None, map(find_fssbench_words, split_commands(block.text))):
                names = {name: p.opts[-1] for p in parse_words(words).params for name in p.opts}
                verb = " ".join(words[:2]) if words[0] == "data" else words[0]
                options |= {(verb, names.get(word, "")) for word in words}
    return options


def test_pages_that_run_at_night_have_no_option_that_no_other_page_has() -> None:
    cases = read_slow_tests()["tests/docs/test_pages.py"]
    nightly = {case.partition("[")[2].rstrip("]") for case in cases}
    by_page = {name: list_options_that_run(page) for name, page in PAGES.items()}
    daily = set().union(*(options for name, options in by_page.items() if name not in nightly))
    assert all(by_page[name] for name in nightly)
    assert {name: by_page[name] - daily for name in nightly if by_page[name] - daily} == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in WITH_BLOCKS if _runs(PAGES[name], "slow")])
def test_page_runs_with_its_slow_blocks(name: str, place: Path, stand_ins: dict[str, str]) -> None:
    run_page(PAGES[name], place, stand_ins, slow=True)


def test_a_wrong_command_would_be_seen(tmp_path: Path) -> None:
    def read(text: str) -> DocPage:
        path = tmp_path / "page.md"
        path.write_text(text)
        return read_page(path)

    for command in (
        "fssbench runn",
        "fssbench run --methd x",
        "fssbench report --resamples few",
        "fssbench show",
    ):
        for text in (
            f"Do:\n\n    {command}\n",
            f"```sh\n{command}\n```\n",
            f"- item\n\n    ```sh\n    {command}\n    ```\n",
        ):
            page = read(text)
            assert len(page.blocks) == 1, text
            with pytest.raises(AssertionError, match=r"page\.md"):
                check_block(page, page.blocks[0])
    with pytest.raises(ValueError, match="not known"):
        find_fssbench_words("curl example.org")
    with pytest.raises(SyntaxError):
        check_block(page := read("```python\nprint(\n```\n"), page.blocks[0])
    for text in (
        "<!-- test: parse -->\n```sh\nfssbench env\n```\n",
        "<!-- test: maybe -->\n\n    fssbench env\n",
    ):
        with pytest.raises(ValueError, match=r"page\.md"):
            read(text)
    with pytest.raises(ValueError, match="no code block"):
        read("<!-- test: slow -->\n\nText.\n")


def test_output_that_a_page_shows_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    for shown, passes in (("a  ... c", True), ("a b d", False)):
        path.write_text(f"```python\nprint('a b c')\n```\n\n<!-- test: output -->\n```text\n{shown}\n```\n")
        with contextlib.nullcontext() if passes else pytest.raises(AssertionError, match="was not printed"):
            run_page(read_page(path), tmp_path, {}, slow=False)


def test_a_failing_command_fails_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("    fssbench show nothing-of-this-name\n")
    with pytest.raises(AssertionError, match="nothing-of-this-name"):
        run_page(read_page(path), tmp_path, {}, slow=False)
    path.write_text("<!-- test: exit 2 -->\n\n    fssbench show nothing-of-this-name\n")
    run_page(read_page(path), tmp_path, {}, slow=False)
    path.write_text("```python\nraise FssbenchError\n```\n")
    with pytest.raises((NameError, FssbenchError)):
        run_page(read_page(path), tmp_path, {}, slow=False)
