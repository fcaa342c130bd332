"""The report as `results.json`: everything that tables are made of, for programs and for `--compare-to`."""

from __future__ import annotations

from pathlib import Path

from fssbench.api import RESULTS_FILE, Reporter, Results, write_results


class JsonReporter(Reporter):
    """Writes `results.json`: counts, figures and manifests.  A later report can be compared with it."""

    name = "json"
    title = "JSON, all counts and figures; read back by --compare-to"
    apart = True

    def write(self, results: Results, folder: Path) -> list[Path]:
        """Write `results.json`."""
        write_results(results, folder / RESULTS_FILE)
        return [folder / RESULTS_FILE]
