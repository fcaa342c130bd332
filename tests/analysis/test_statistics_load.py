"""What large comparisons cost, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from places import SUPPORT

TWENTY_BY_TEN = """
import json, re, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import table_factory as table
from fssbench.analysis.comparisons import compare_pairs

def peak():
    # not `getrusage`, whose figure begins with that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

results = table.make_results(
    *(table.make_run(f"m{m}", f"bench{b}", episodes=1000) for b in range(10) for m in range(20))
)
before, start = peak(), time.process_time()
pairs = compare_pairs(results, resamples=10_000)
print(json.dumps({"pairs": len(pairs), "seconds": time.process_time() - start, "peak": peak(), "before": before}))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_ten_thousand_resamples_of_twenty_methods_on_ten_benchmarks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWENTY_BY_TEN, str(SUPPORT)],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    print(result)
    assert result["pairs"] == 10 * 190
    assert result["seconds"] < 60, "of processor time: 30 s on two cores"
    assert result["peak"] < 1024
