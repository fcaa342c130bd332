"""A large report in little time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import make_plan, write_run

PLACES = (
    "pascal5i",
    "fss1000",
    "pascal-to-fss1000",
    "pascal-to-deepglobe",
    "pascal-to-isic2018",
    "pascal-to-chestxray",
)
METHODS = ("pmnet", "hsnet", "panet", "pfenet", "ssp", "vat")
CHILD = """
import json, resource, sys
from pathlib import Path
from fssbench.analysis.collect import collect
from fssbench.reports.formats.html import HtmlReporter
results = collect([Path(sys.argv[1])])
(page,) = HtmlReporter().write(results, Path(sys.argv[2]))
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"runs": len(results.runs), "episodes": sum(r.episodes for r in results.runs),
    "seconds": used.ru_utime + used.ru_stime, "megabytes": used.ru_maxrss / 1024, "page": page.stat().st_size}))
"""


@pytest.mark.nightly
@pytest.mark.timeout(400)
def test_a_hundred_thousand_episodes_take_seconds(tmp_path: Path) -> None:
    """Processor seconds, which others at work on the machine do not move."""
    left = 100
    for benchmark in PLACES:
        for fold in range(4 if benchmark == "pascal5i" else 1):
            for shot in (1, 5):
                plan = make_plan(benchmark, fold, shot, 1000)
                for method in METHODS[:left]:
                    write_run(tmp_path / "runs", plan, method)
                    left -= 1
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "runs"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    used = json.loads(answer.stdout)
    assert (used["runs"], used["episodes"]) == (100, 100_000)
    assert used["seconds"] < 20
    assert used["megabytes"] < 500
    assert used["page"] < 10_000_000
