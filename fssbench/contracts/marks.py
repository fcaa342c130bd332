"""What keeps a figure from being a benchmark figure: marks, each of a kind and with a detail."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class MarkKind(StrEnum):
    """The kinds of marks that fssbench gives.  A plugin may use other words as kinds of its own."""

    MINIATURE = "miniature"
    OWN_DATA = "own data"
    SAMPLE = "sample"
    CAPPED = "capped"
    RESIZED = "resized"
    OWN_INPUT_SIZE = "own input size"
    MORE_INFORMATION = "more information"
    INCOMPLETE = "incomplete"
    SHARD = "shard"
    CLASSES = "classes"
    FOLDS = "folds"
    JOINED = "joined"
    UNTRAINED = "untrained"
    RANDOM_BACKBONE = "random backbone"
    RANDOM_WEIGHTS = "random weights"
    LOCAL_WEIGHTS = "local weights"
    FORCED_CHECKPOINT = "forced checkpoint"
    CODE_IN_NO_FILE = "code in no file"
    PART_TRAINED = "part-trained"
    SELECTED_ON_TEST = "selected on test"
    TRAINED_ON_TEST_CLASSES = "trained on test classes"
    TRAINED_ON_TEST_IMAGES = "trained on test images"
    SUPPORT_SETS = "support sets"
    BFLOAT16 = "bfloat16"
    BATCH = "batch"
    QUERY_AMONG_SUPPORTS = "query among its supports"
    REPEATED_SUPPORTS = "repeated supports"
    COPIED_QUERIES = "copied queries"
    DOUBTFUL_MASKS = "doubtful masks"
    DOUBTFUL_TRAINING_MASKS = "doubtful training masks"
    AS_PUBLISHED_MASKS = "as-published masks"
    AS_PUBLISHED_TRAINING_MASKS = "as-published training masks"
    OTHER_SOURCE = "other source"
    OTHER_EPISODES = "other episodes"
    OTHER_LISTS = "other lists"
    OTHER_POPULATION = "other population"


_FAMILIES: dict[str, str] = {
    MarkKind.RANDOM_BACKBONE: "random",
    MarkKind.RANDOM_WEIGHTS: "random",
    MarkKind.LOCAL_WEIGHTS: "local",
    MarkKind.FORCED_CHECKPOINT: "forced",
    MarkKind.CODE_IN_NO_FILE: "code",
    MarkKind.SELECTED_ON_TEST: "selected",
    MarkKind.TRAINED_ON_TEST_CLASSES: "trained",
    MarkKind.TRAINED_ON_TEST_IMAGES: "trained",
    MarkKind.QUERY_AMONG_SUPPORTS: "query",
    MarkKind.DOUBTFUL_MASKS: "doubtful",
    MarkKind.DOUBTFUL_TRAINING_MASKS: "doubtful",
    MarkKind.AS_PUBLISHED_MASKS: "as-published",
    MarkKind.AS_PUBLISHED_TRAINING_MASKS: "as-published",
}
_KINDS = {str(kind): kind for kind in MarkKind}


class Mark(str):
    """One thing that keeps a figure from being a benchmark figure.

    A mark is a text, such as `capped (8 of 600 episodes)`, because files, tables and JSON hold it as one.  Decisions
    are taken by its kind.  `parse_mark` is the one place where a stored text becomes a mark again.

    Attributes:
        kind: a `MarkKind`, or words of a plugin.  It contains no ` (`.
        detail: how much, of what, or why.  It may be empty.

    Example:
        >>> mark = Mark(MarkKind.CAPPED, "8 of 600 episodes")
        >>> print(mark, "|", mark.kind, "|", mark.detail)
        capped (8 of 600 episodes) | capped | 8 of 600 episodes
    """

    kind: str
    detail: str

    def __new__(cls, kind: str, detail: str = "") -> Mark:
        """Make the text of the mark.

        Raises:
            ValueError: for a kind that contains ` (`, which begins the detail.
        """
        if detail and " (" in kind:
            raise ValueError(f"the kind {kind!r} of a mark contains ' (', which begins the detail")
        mark = super().__new__(cls, f"{kind} ({detail})" if detail else str(kind))
        mark.kind, mark.detail = _KINDS.get(kind, str(kind)), detail
        return mark

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        """Return what a copy is made from."""
        return self.kind, self.detail

    @property
    def family(self) -> str:
        """Short name under which legends list the mark.  Kinds of one family share a letter."""
        return _FAMILIES.get(self.kind, str(self.kind))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A record holds a mark; its JSON holds the text."""
        return core_schema.no_info_after_validator_function(
            parse_mark, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )


def parse_mark(text: str) -> Mark:
    """Make a mark from its text: its kind is the text before the first ` (`, its detail is the text in the brackets.

    The text of the mark is `text`, whatever it holds.

    Example:
        >>> parse_mark("other lists (pascal val fold 0: 20 entries)").kind
        <MarkKind.OTHER_LISTS: 'other lists'>
    """
    if isinstance(text, Mark):
        return text
    kind, bracket, rest = text.partition(" (")
    if bracket and len(rest) > 1 and rest.endswith(")"):
        return Mark(kind, rest[:-1])
    return Mark(text)
