"""Whole runs on a GPU: counts near those of the processor, the same twice, and errors by name."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from whole_runs import records, run

from fssbench.contracts.marks import MarkKind
from fssbench.errors import FssbenchError
from fssbench.plugins.registry import load_plugin
from fssbench.runs.store import read_run

METHODS = ("pmnet", "hsnet", "panet", "ssp", "ifa", "dr-adapter")
GREEDY = """
import torch
from fssbench.api import ImageMethod, MethodCard

class Greedy(ImageMethod):
    card = MethodCard(
        name="greedy", title="Greedy", paper="none", year=2026, kind="other", backbone="none", size=64,
        trained=False, reference="this file", licence="none",
    )

    def logits(self, query, support, support_mask):
        if query.is_cuda:
            return torch.empty(1, 2, 1 << 22, 1 << 20, device=query.device)
        return torch.zeros(1, 2, 8, 8)
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["pascal5i", "pascal-to-isic2018", "pascal-to-chestxray"])
def test_scores_of_both_devices_agree(device: str, mini: Path, tmp_path: Path, where: str) -> None:
    # not named `benchmark`: a fixture of pytest-benchmark has that name
    on_processor = run(tmp_path / "cpu", "cpu", mini, where, *METHODS)
    on_gpu = run(tmp_path / "gpu", device, mini, where, *METHODS)
    for mine, other in zip(on_processor, on_gpu, strict=True):
        assert device == "cpu" or mine.identity != other.identity  # another device is another measurement
        assert abs(mine.score.miou - other.score.miou) <= 0.05, mine.path.name


def test_a_run_gives_the_same_counts_again(device: str, mini: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "first", device, mini, "pascal5i", *METHODS)
    second = run(tmp_path / "second", device, mini, "pascal5i", *METHODS)
    assert [records(each) for each in first] == [records(each) for each in second]


@pytest.mark.usefixtures("gpu")
def test_bfloat16_moves_scores_little_and_says_so(mini: Path, tmp_path: Path) -> None:
    exact = run(tmp_path / "float32", "cuda", mini, "pascal5i", *METHODS)
    mixed = run(tmp_path / "bf16", "cuda", mini, "pascal5i", *METHODS, precision="bf16")
    for one, other in zip(exact, mixed, strict=True):
        assert one.identity != other.identity
        assert abs(one.score.miou - other.score.miou) <= 3, one.path.name
        assert any("bfloat16" in str(mark) for mark in other.marks)


def test_batches_move_scores_little_say_so_and_give_the_same_counts_again(
    device: str, mini: Path, tmp_path: Path
) -> None:
    alone = run(tmp_path / "alone", device, mini, "pascal5i", *METHODS)
    together, again = (
        run(tmp_path / name, device, mini, "pascal5i", *METHODS, batch=5) for name in ("together", "again")
    )
    assert [records(each) for each in together] == [records(each) for each in again]
    for one, other in zip(alone, together, strict=True):
        assert one.identity != other.identity
        assert abs(one.score.miou - other.score.miou) <= 0.05, one.path.name
        assert any(mark.kind == MarkKind.BATCH for mark in other.marks)


@pytest.mark.usefixtures("gpu")
def test_a_run_on_another_stream_gives_the_same_counts(mini: Path, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", "cuda", mini, "pascal5i", "pmnet")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        beside = run(tmp_path / "beside", "cuda", mini, "pascal5i", "pmnet")
    assert records(whole[0]) == records(beside[0])


@pytest.mark.usefixtures("gpu")
def test_memory_that_runs_out_names_the_method_and_spares_the_others(mini: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "greedy.py"
    plugin.write_text(GREEDY)
    load_plugin(plugin)
    with pytest.raises(FssbenchError, match="greedy") as caught:
        run(tmp_path / "runs", "cuda", mini, "pascal-to-isic2018", "greedy", "panet")
    assert "memory" in str(caught.value)
    (panet,) = (tmp_path / "runs").glob("*panet*")
    assert len(read_run(panet).records) == 12


@pytest.mark.usefixtures("gpu")
def test_memory_that_runs_out_in_the_backbone_says_what_to_do(mini: Path, tmp_path: Path) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    allowed = torch.cuda.memory_reserved() + 600 * 2**20
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / total))
    try:
        with pytest.raises(FssbenchError) as caught:
            run(tmp_path / "runs", "cuda", mini, "pascal-to-isic2018", "panet", size=4096)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert "memory" in str(caught.value)
    assert "--size" in str(caught.value)
