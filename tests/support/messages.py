"""What a message says, whatever its wording."""

from __future__ import annotations


def error_names(error: object, *parts: object) -> bool:
    """Whether a message names every part: the thing, its value, what was allowed, the option or next command.

    Args:
        error: an exception, or the output of a command; line breaks count as spaces.
        parts: what the message has to contain, in any order.

    Raises:
        AssertionError: if a part is missing; it shows the parts and the whole message.
    """
    message = " ".join(str(error).split())
    missing = [str(part) for part in parts if str(part) not in message]
    assert not missing, f"{missing} not in {message!r}"
    return True
