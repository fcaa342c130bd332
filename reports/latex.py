r"""LaTeX tables (booktabs) for a paper: `\input{report}` with `booktabs` and `graphicx` loaded."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fssbench.api import Reporter, Results

from .model import Entry, build

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "−": "$-$",
    "…": r"\ldots{}",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
}


def escape(text: object) -> str:
    r"""Text that any LaTeX prints and none executes; letters beyond Latin are written as their code.

    Example:
        >>> escape("50% of a_b\\input{x}")
        '50\\% of a\\_b\\textbackslash{}input\\{x\\}'
    """
    return "".join(_SPECIAL.get(c) or (c if _plain(c) else f"[U+{ord(c):04X}]") for c in str(text))


def _plain(char: str) -> bool:
    """Whether every LaTeX with the default encoding can print it."""
    return char < "\x80" or ("À" <= char <= "ÿ" and char not in "ÐÞðþ×÷")


def number(entry: Entry) -> str:
    """A figure with its interval in small print, its marks raised, bold where the model says so."""
    text = escape(entry.text)
    if entry.bold:
        text = rf"\textbf{{{text}}}"
    if entry.marks:
        text += rf"\textsuperscript{{{entry.marks}}}"
    if entry.interval:
        text += rf" {{\tiny {entry.interval}}}"
    return text


def _label(identifier: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", identifier).strip("-").lower()


class LatexReporter(Reporter):
    """`report.tex`: one booktabs table a benchmark, to be read into a paper."""

    name = "latex"
    title = "LaTeX tables (booktabs)"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `report.tex`."""
        environment = Environment(
            loader=PackageLoader(__package__ or "fssbench.reports"),
            block_start_string="<%",
            block_end_string="%>",
            variable_start_string="<<",
            variable_end_string=">>",
            comment_start_string="<#",
            comment_end_string="#>",
            # every printed value goes through this, so that none can be forgotten
            finalize=lambda value: value if isinstance(value, Written) else escape(value),
            autoescape=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["number"] = lambda entry: Written(number(entry))
        environment.filters["label"] = lambda text: Written(_label(text))
        environment.filters["columns"] = lambda columns: Written("r" * len(columns))
        target = folder / "report.tex"
        target.write_text(
            environment.get_template("report.tex.j2").render(report=build(results)), encoding="utf-8"
        )
        return [target]


class Written(str):
    """LaTeX made here: printed as it is."""

    __slots__ = ()
