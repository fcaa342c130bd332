"""A large report in little time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from command import run_command
from many_runs import write_many_runs
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
import json, re, resource, sys
from pathlib import Path
from fssbench.analysis.collect import collect
from fssbench.reports.formats.html import HtmlReporter
results = collect([Path(sys.argv[1])])
(page,) = HtmlReporter().write(results, Path(sys.argv[2]))
used = resource.getrusage(resource.RUSAGE_SELF)
# not the maximum of getrusage, which contains that of the program that started this one
most = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(json.dumps({"runs": len(results.runs), "episodes": sum(r.episodes for r in results.runs),
    "seconds": used.ru_utime + used.ru_stime, "megabytes": most / 1024, "page": page.stat().st_size}))
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


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_thousand_runs_are_listed_in_two_seconds(tmp_path: Path) -> None:
    """Processor seconds of the whole command."""
    assert write_many_runs(tmp_path, plans=20, methods=50, episodes=100, panels=0) == 1000
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "fssbench", "list", "runs", "-o", str(tmp_path), "--json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(listed.stdout.splitlines()) == 1000
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_the_list_of_runs_opens_no_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `list` costs is what it opens: no pictures, and each file of a run once."""
    count = write_many_runs(tmp_path, plans=2, methods=3, episodes=10, panels=2)
    opened: list[str] = []
    plain = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *given, **named: opened.append(str(path)) or plain(path, *given, **named)
    )
    result = run_command("list", "runs", "-o", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == count
    inside = [name for name in opened if name.startswith(str(tmp_path))]
    assert inside
    assert max(Counter(inside).values()) <= 2, Counter(inside).most_common(3)  # once for its checksum
    assert not [name for name in inside if name.endswith(("panels.jsonl", "masks.jsonl", "probes.jsonl"))]
