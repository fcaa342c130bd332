"""Writes a small table in Markdown."""

from __future__ import annotations

from pathlib import Path

from fssbench.api import Reporter, Results


class Mine(Reporter):
    """One line per method, benchmark and number of shots, with the interval and the marks of each figure."""

    name = "mine"
    title = "Mine"

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `mine.md` into an existing folder.

        Args:
            results: the stored runs with their counts, and the cells of the tables with their intervals.
            folder: where the files are written.

        Returns:
            The paths of the files.
        """
        lines = [
            "| method | benchmark | shots | mIoU | 95 % | episodes | marks |",
            "|---|---|---|---|---|---|---|",
        ]
        for cell in results.cells:
            figure = cell.miou
            values = (
                cell.name or cell.label,
                cell.benchmark,
                cell.shot,
                f"{figure.value:.1f}",
                figure.shortage or f"{figure.low:.1f} to {figure.high:.1f}",
                cell.episodes,
                "; ".join(cell.marks),
            )
            lines.append(f"| {' | '.join(map(str, values))} |")
        path = folder / "mine.md"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        return [path]
