"""A miniature in a folder of the user appears as a whole: no part of it is left after an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fssbench.data import location
from fssbench.errors import DataError


def test_an_error_in_the_middle_leaves_no_part_and_the_next_call_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw_half(cls: Any, target: Path, seed: int) -> None:
        (target / "FSS-1000" / "ab_wheel").mkdir(parents=True)
        (target / "FSS-1000" / "ab_wheel" / "1.jpg").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    target = tmp_path / "mini"
    with monkeypatch.context() as patch:
        patch.setattr(location, "draw_dataset", draw_half)
        with pytest.raises(DataError, match="No space left"):
            location.make_miniature(target, names=["fss1000"])
    assert [path.name for path in target.iterdir()] == ["MINIATURE.json"]
    (target / ".drawing-old").mkdir()  # of a process that was killed
    assert location.make_miniature(target, names=["fss1000"]) == {"fss1000": "written"}
    assert sorted(path.name for path in target.iterdir()) == ["FSS-1000", "MINIATURE.json"]
