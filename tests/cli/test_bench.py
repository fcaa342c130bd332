"""`fssbench bench` as a user types it; the measuring itself is replaced, but for one run in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import BENCH_PLUGIN
from small_backbone import register_small_backbone

from fssbench.cli import main
from fssbench.efficiency import loops, measure
from fssbench.efficiency.loops import PLAIN_EPISODES, PRODUCT_SIDES
from fssbench.efficiency.store import read_all
from fssbench.termination import Terminated

PLUGIN = BENCH_PLUGIN


@pytest.fixture
def asked(monkeypatch):
    """Measurements asked for; they are made in this process, at a small size."""
    result = []

    def here(wanted):
        result.append(wanted)
        return measure.measure(replace(wanted, size=wanted.size or 32))

    monkeypatch.setattr(measure, "measure_in_subprocess", here)
    return result


def invoke(out: Path, *arguments: object):
    given = ["bench", "--plugin", PLUGIN, "--device", "cpu", "-o", out, "--repeats", "5", *arguments]
    return CliRunner().invoke(main, list(map(str, given)))


def test_one_and_five_shot_are_measured_and_stored(asked, tmp_path):
    backbone = register_small_backbone()
    answer = invoke(tmp_path, "-m", "one-convolution", "-m", "linear", "--backbone", backbone)
    assert answer.exit_code == 0, answer.output
    assert [(w.method, w.shot) for w in asked] == [
        (m, k) for m in ("one-convolution", "linear") for k in (1, 5)
    ]
    header, *rows = [line.split("\t") for line in answer.stdout.splitlines()]
    assert [row[header.index("shot")] for row in rows] == ["1", "5", "1", "5"]
    assert rows[0][header.index("learnable")] == "54"
    assert rows[0][header.index("head ms")] == "-"
    result, notes = read_all([tmp_path])
    assert (len(result), notes) == (4, [])
    assert f"Next: `fssbench report {tmp_path}" in answer.stderr


def test_a_secret_setting_is_in_no_measurement(asked, tmp_path):
    folder = tmp_path / "anna"
    answer = invoke(tmp_path, "-m", "one-convolution", "-k", 1, "--set", "api_key=S3CRET", "--json")
    assert answer.exit_code == 0, answer.output
    other = invoke(tmp_path, "-m", "one-convolution", "-k", 1, "--set", f"api_key={folder}/S3CRET", "--json")
    assert other.exit_code == 0, other.output
    stored = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(stored) == 2, "another secret is another measurement"
    assert not any("S3CRET" in text for text in (*stored, answer.output, other.output))


def test_json_owns_standard_output(asked, tmp_path, null):
    answer = invoke(tmp_path, "-m", "linear", "-k", 1, "--size", 64, "--json", "--batch", 2)
    (row,) = null.parse_json_lines(answer.stdout)
    (stored,), _ = read_all([tmp_path])
    assert row["flops"] == row["flops_backbone"] + row["flops_head"] == stored.flops
    assert Path(row["written"]).is_file()
    assert row["milliseconds"]["repeats"] == 5
    assert (row["size"], row["batch"], row["shot"]) == (64, 2, 1)
    assert (asked[0].size, asked[0].batch) == (64, 2)


def test_options_reach_the_method(asked, tmp_path):
    answer = invoke(tmp_path, "-m", "one-convolution", "-k", 1, "--ablate", "two")
    assert answer.exit_code == 0, answer.output
    assert invoke(tmp_path, "-m", "one-convolution", "-k", 1, "--set", "steps=2").exit_code == 0
    first, second = read_all([tmp_path])[0]
    assert {first.label, second.label} == {"one-convolution (w/o two)", "one-convolution (steps=2)"}
    assert first.flops == second.flops


def test_instability_is_said_with_the_next_command(asked, tmp_path):
    answer = invoke(tmp_path, "-m", "one-convolution", "-k", 1, "--repeats", 2)
    assert "unstable: one-convolution, 1-shot: there are only 2 repeats" in answer.stderr
    assert "Next: measure again on an idle machine, or with more --repeats" in answer.stderr
    assert answer.stdout.splitlines()[1].endswith("yes")


def test_one_that_fails_stops_no_other(asked, tmp_path):
    answer = invoke(tmp_path, "-m", "fails", "-m", "one-convolution", "-k", 1)
    assert answer.exit_code == 4
    assert "not today" in answer.stderr
    assert "1 of 2 measurements failed" in answer.stderr
    assert len(read_all([tmp_path])[0]) == 1


@pytest.mark.parametrize(("signal", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_what_was_measured_is_printed_when_it_is_interrupted(monkeypatch, tmp_path, signal, code):
    def interrupted_at_five_shot(wanted):
        if wanted.shot == 5:
            raise signal
        return measure.measure(replace(wanted, size=32))

    monkeypatch.setattr(measure, "measure_in_subprocess", interrupted_at_five_shot)
    answer = invoke(tmp_path, "-m", "one-convolution", "-m", "linear")
    assert answer.exit_code == code
    header, row = [line.split("\t") for line in answer.stdout.splitlines()]
    assert row[header.index("method")] == "one-convolution"
    assert "not made: 3 of 4 measurements" in answer.stderr
    assert f"Next: `fssbench report {tmp_path}" in answer.stderr


def test_comparisons_with_plain_are_printed_when_it_is_interrupted(monkeypatch, tmp_path, null):
    compare = loops.compare_loops

    def interrupted_at_three_shot(method, drawn, settings):
        if drawn.shot == 3:
            raise KeyboardInterrupt
        return compare(method, drawn, settings)

    monkeypatch.setattr(loops, "compare_loops", interrupted_at_three_shot)
    monkeypatch.setitem(PRODUCT_SIDES, "cpu", 96)
    given = ("-m", "one-convolution", "-b", "nulldata", "--data", null.data, "-k", 1, "-k", 3, "--size", 32)
    answer = invoke(tmp_path, *given, "--plain", "--episodes", 6)
    assert answer.exit_code == 130
    assert len(answer.stdout.splitlines()) == 2
    assert "not made: 1 of 2 comparisons" in answer.stderr


def test_unknown_names_are_told_before_anything_is_measured(asked, tmp_path):
    answer = invoke(tmp_path, "-m", "one-convolution", "-m", "liner")
    assert answer.exit_code == 2
    assert "Did you mean linear" in answer.stderr
    assert asked == []
    assert invoke(tmp_path).exit_code == 2


def test_folder_that_cannot_be_written(asked, tmp_path):
    (tmp_path / "file").write_text("")
    answer = invoke(tmp_path / "file", "-m", "one-convolution", "-k", 1)
    assert answer.exit_code == 3
    assert "cannot be made" in answer.stderr


def test_a_measurement_in_a_process_of_its_own_is_stored(tmp_path):
    answer = invoke(tmp_path / "runs", "-m", "linear", "-k", 1, "--size", 32, "--repeats", 1)
    assert answer.exit_code == 0, answer.stderr
    (result,), _ = read_all([tmp_path / "runs"])
    assert result.method == "linear"
    assert "measuring linear, 1-shot, on cpu" in answer.stderr


def test_plain_compares_an_evaluation_with_the_plain_loop(tmp_path, null, monkeypatch):
    """The null method has no multiplication, so its floor is nothing; another one has."""
    monkeypatch.setitem(PRODUCT_SIDES, "cpu", 96)
    given = ("-m", "one-convolution", "-b", "nulldata", "--data", null.data, "-k", 1, "-k", 3, "--size", 32)
    answer = invoke(tmp_path, *given, "--plain", "--episodes", 24, "--json")
    assert answer.exit_code == 0, answer.output
    rows = null.parse_json_lines(answer.stdout)
    assert [(row["method"], row["shot"], row["episodes"]) for row in rows] == [
        ("one-convolution", 1, 24),
        ("one-convolution", 3, 24),
    ]
    for row in rows:
        assert row["different_pixels"] == 0
        assert row["pixels"] == PLAIN_EPISODES * 32**2
        assert row["ratio"] == row["plain_seconds"] / row["harness_seconds"] > 0
        assert row["times_floor"] == row["harness_seconds"] / row["floor_seconds"] > 0
    assert not (tmp_path / "bench").exists(), "nothing is stored"


def test_plain_names_a_benchmark_that_does_not_exist(tmp_path, null):
    answer = invoke(tmp_path, "-m", "linear", "-b", "nulldate", "--data", null.data, "--plain")
    assert answer.exit_code == 2
    assert "nulldata" in answer.stderr
