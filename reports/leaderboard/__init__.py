"""A static site from many runs: a board of all figures, one page per method, one page per benchmark."""

from __future__ import annotations

from pathlib import Path

from fssbench.api import Reporter, Results


class LeaderboardReporter(Reporter):
    """Writes `index.html`, one page per method and one page per benchmark."""

    name = "leaderboard"
    title = "Static site: a board to sort and filter, one page per method and per benchmark"
    on_request = True

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write the site into the folder."""
        from .site import render_site  # any report asks for the name above, and most write no site

        paths = []
        for name, text in render_site(results).items():
            path = folder / name
            path.write_text(text, encoding="utf-8", newline="\n")
            paths.append(path)
        return paths
