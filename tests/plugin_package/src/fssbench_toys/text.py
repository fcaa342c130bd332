"""A reporter in plain text: one line per cell."""

from __future__ import annotations

from pathlib import Path

from fssbench.api import Reporter, Results


class ToyText(Reporter):
    """Writes `results.txt`."""

    name = "toy-text"
    title = "Plain text"

    def write(self, results: Results, folder: Path) -> list[Path]:
        path = folder / "results.txt"
        lines = [f"{c.label} {c.benchmark} {c.shot}-shot {c.miou.value:.1f}" for c in results.cells]
        path.write_text("\n".join([f"{len(results.runs)} runs", *lines]) + "\n", encoding="utf-8")
        return [path]
