"""What every LaTeX file here is made with: escaping that nothing foreign passes, and templates."""

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
    r"""Text that any LaTeX prints and none executes; letters beyond Latin are written as their code.

    Example:
        >>> escape("50% of a_b\\input{x}")
        '50\\% of a\\_b\\textbackslash{}input\\{x\\}'
    """
    return "".join(_SPECIAL.get(c) or (c if _plain(c) else f"[U+{ord(c):04X}]") for c in str(text))


def _plain(char: str) -> bool:
    """Whether every LaTeX with the default encoding can print it."""
    return char < "\x80" or ("À" <= char <= "ÿ" and char not in "ÐÞðþ×÷")


class Written(str):
    """LaTeX made here: printed without escaping."""

    __slots__ = ()


def open_tex_templates() -> Environment:
    """Open the templates of LaTeX files: every printed value is escaped unless it is `Written`."""
    return open_templates(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        # every printed value goes through this, so that none can be forgotten
        finalize=lambda value: value if isinstance(value, Written) else escape(value),
        autoescape=False,
        keep_trailing_newline=True,
    )
