"""What a method's card says about its reference and its choices, one fact per note."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

NoteKind = Literal["reproduced", "corrected", "differs", "stated", "inferred", "choice", "remark"]
"""`reproduced`: a fault or oddity of the reference that is kept; `corrected`: one that is not; `differs`: what is done
in another way than in the reference.  For a method without public code, `stated`: what its paper says; `inferred`: what
follows from published figures; `choice`: what is unknown and was chosen here.  `remark`: anything else that a user
should know."""


@dataclass(frozen=True, slots=True)
class Note:
    """One fact of a method's card.

    Example:
        >>> print(Note("corrected", "Any input size works."))
        Corrected: any input size works.
    """

    kind: NoteKind
    text: str
    """One or more full sentences."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(NoteKind):
            raise ValueError(f"the kind {self.kind!r} of a note is none of {', '.join(get_args(NoteKind))}")

    def __str__(self) -> str:
        """Return the text, after the kind unless it is a remark."""
        if self.kind == "remark":
            return self.text
        first = self.text.split(" ", 1)[0]
        is_name = any(letter.isupper() for letter in first[1:])  # such as VGG-16
        text = self.text if is_name else self.text[:1].lower() + self.text[1:]
        return f"{self.kind.capitalize()}: {text}"
