"""Templates and escaping of LaTeX files.  Foreign text is printed and never executed."""

from __future__ import annotations

from jinja2 import Environment

from .templates import open_templates

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
    "\u00a0": "~",
    "†": r"$\dagger$",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
}


def escape(text: object) -> str:
    r"""Return text that every LaTeX prints and none executes.  Letters beyond Latin-1 are printed as their code.

    Example:
        >>> escape("50% of a_b\\input{x}")
        '50\\% of a\\_b\\textbackslash{}input\\{x\\}'
    """
    return "".join(_SPECIAL.get(c) or (c if _is_printable(c) else f"[U+{ord(c):04X}]") for c in str(text))


def _is_printable(char: str) -> bool:
    """Return whether every LaTeX with the default encoding can print the character."""
    return char < "\x80" or ("À" <= char <= "ÿ" and char not in "ÐÞðþ×÷")


class LatexCode(str):
    """LaTeX that this package wrote.  It is printed without escaping."""

    __slots__ = ()


def open_tex_templates() -> Environment:
    """Open the templates of LaTeX files.  Every printed value is escaped unless it is `LatexCode`."""
    return open_templates(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        # every printed value goes through this, so that none can be forgotten
        finalize=lambda value: value if isinstance(value, LatexCode) else escape(value),
        autoescape=False,
        keep_trailing_newline=True,
    )
