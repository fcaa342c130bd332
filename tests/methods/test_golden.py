"""Outputs of the reference implementations: what cards declare is there, is checked, and nothing there is left out."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_values import read_values
from places import load_golden_recipe
from shared_passes import share_passes
from undrawn_weights import load_undrawn, nothing_hashed

import fssbench
from fssbench.plugins.registry import METHODS

DECLARED = {
    file.partition(":")[0]: name for name in METHODS.names() for file in METHODS.get(name).card.parity
}
"""Method by file."""
BY_OWN_TEST = {
    "abcdfss",
    "dr-adapter",
    "fssdino",
    "gf-sam",
    "hera-hls",
    "ifa",
    "insid3",
    "pmms",
    "repri",
    "ssp",
}
"""Methods whose files have fields of other names, which the method's own test compares."""
BY_SCRIPT = sorted(
    (file for file, method in DECLARED.items() if method not in BY_OWN_TEST),
    key=lambda file: (file.rpartition("_")[2], file),
)
"""Files that the acceptance script reads whole; those of one size follow each other, and share passes of a network."""
SLOW = {
    "aaformer_resnet50_233": "aaformer/test_aaformer.py::test_agents_transport_and_losses_equal_the_reference "
    "compares its logits too",
    "asgnet_resnet50_fem_257": "asgnet/test_asgnet.py::test_equals_the_reference compares its logits too",
    "bam_resnet50_233": "bam/test_bam.py::test_maps_and_losses_equal_the_reference compares its logits too",
    "cyctr_resnet50_225": "cyctr/test_cyctr.py::test_variants_and_losses_equal_the_reference compares its logits too",
    "fecanet_resnet50_200": "fecanet/test_fecanet.py::test_equals_the_reference compares its logits too",
    "ipmt_resnet50_233": "ipmt/test_ipmt.py::test_masks_and_losses_equal_the_reference compares its logits too",
    "ntrenet_resnet50_233": "ntrenet/test_ntrenet.py::test_maps_and_losses_equal_the_reference compares its "
    "logits too",
    "hsnet_vgg16_400": "hsnet_resnet50_400 proves the head, and tests/backbones/test_backbones.py the features",
    "vat_resnet50_pascal_256": "takes minutes",
}
"""Files that are compared in the slow tests alone, and why."""
VOTE = "the harness votes: test_hsnet.py::test_votes_count_relative_to_the_most_voted_pixel_of_each_query"
ONE_SHOT = {
    "aaformer_resnet50_233": "vectors, priors and tokens of five supports are joined as in CyCTR: "
    "cyctr/test_cyctr.py::test_variants_and_losses_equal_the_reference",
    "asgnet_resnet50_fem_257": "prototypes of five supports are pooled: "
    "asgnet/test_asgnet.py::test_large_objects_have_more_prototypes_and_all_supports_are_pooled",
    "bam_resnet50_233": "bam/test_bam.py::test_maps_and_losses_equal_the_reference compares five with the same file",
    "dcama_resnet50_384": "one softmax over all supports: test_dcama.py::test_supports_share_one_softmax",
    "fecanet_resnet50_200": VOTE,
    "hm_hsnet_resnet50_400": VOTE,
    "hsnet_resnet50_400": VOTE,
    "ipmt_resnet50_233": "vectors and priors of five supports are joined as in CyCTR: "
    "cyctr/test_cyctr.py::test_variants_and_losses_equal_the_reference, and all their cells share a "
    "softmax: test_laws.py::test_the_same_support_twice_is_one_support",
    "ntrenet_resnet50_233": "vectors and priors of five supports are averaged as pfenet_resnet50_257 proves",
    "patnet_resnet50_400": VOTE,
    "pmnet_released_resnet50_384": "both variants join supports alike, which pmnet_onehead_resnet50_384 proves",
    "scl_pfenet_resnet50_257": "logits of one support are weighed and added: "
    "test_scl.py::test_supports_weigh_as_much_as_they_find_in_all",
}
"""Files whose outputs of five supports are compared in the slow tests alone, and which file or test proves them."""

_NAMED_TEST = re.compile(r"([\w/]+\.py)::(\w+)")


def leave_out_classifier(values: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Draw values once, and none for the ImageNet classifier of a VGG: most of its weights, which no method reads."""
    classifier = re.compile(r"backbone\.classifier\.\d\.weight")

    def draw(name: str, shape: tuple[int, ...], salt: str = "") -> torch.Tensor:
        if classifier.fullmatch(name):
            return torch.zeros(()).expand(shape)
        return read_values(values, name, shape, salt)

    return draw


def leave_out_five_shots(
    load: Callable[[str], Mapping[str, np.ndarray]],
) -> Callable[[str], dict[str, np.ndarray]]:
    """Read a file of reference outputs without those of five supports."""
    return lambda path: {n: v for n, v in load(path).items() if n not in {"logits_5shot", "pred_5shot"}}


@pytest.fixture
def compare(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], None]:
    """Runs the acceptance script on one file."""
    script = str(shared / "golden" / "check_golden.py")
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the script adds its folder
    recipe = load_golden_recipe(shared)
    monkeypatch.setattr(
        fssbench, "load_method", lambda name, **given: share_passes(load_undrawn(name, **given))
    )
    monkeypatch.setitem(sys.modules, "recipe", recipe)
    monkeypatch.setattr(recipe, "values", leave_out_classifier(recipe.values))

    def run(file: str) -> None:
        (path,) = (shared / "golden").rglob(f"{file}.npz")
        monkeypatch.setattr(sys, "argv", [script, DECLARED[file], str(path)])
        with (
            torch.no_grad(),
            nothing_hashed(),
            pytest.raises(SystemExit) as end,
        ):  # the script leaves gradients off
            runpy.run_path(script, run_name="__main__")
        shown = capsys.readouterr().out
        assert not end.value.code, shown
        assert "1 golden files equal" in shown

    return run


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "file", [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in BY_SCRIPT]
)
def test_equals_the_reference(
    file: str, compare: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if file in ONE_SHOT:
        monkeypatch.setattr(np, "load", leave_out_five_shots(np.load))
    compare(file)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", sorted(ONE_SHOT))
def test_five_supports_equal_the_reference(file: str, compare: Callable[[str], None]) -> None:
    compare(file)


def test_exceptions_are_files_that_the_script_reads() -> None:
    assert SLOW.keys() | ONE_SHOT.keys() <= set(BY_SCRIPT)
    for file, reason in ONE_SHOT.items():
        files = [each for each in set(BY_SCRIPT) - SLOW.keys() - ONE_SHOT.keys() if each in reason]
        assert files or _NAMED_TEST.search(reason), file
        assert {METHODS.get(DECLARED[proof]).shots for proof in files} <= {METHODS.get(DECLARED[file]).shots}
    for place, test in _NAMED_TEST.findall(" ".join([*SLOW.values(), *ONE_SHOT.values()])):
        assert f"def {test}(" in (Path(__file__).parent / place).read_text()


def test_cards_declare_the_files_there_are(shared: Path) -> None:
    files = [
        path for folder in ("", "wave2", "modern") for path in (shared / "golden" / folder).glob("*.npz")
    ]
    beginnings = tuple(f"{name.replace('-', mark)}_" for name in METHODS.names() for mark in ("", "_"))
    there = {path.stem for path in files if path.stem.startswith(beginnings)}
    if not there:
        pytest.skip("no golden files")
    assert there == set(DECLARED)


@pytest.mark.parametrize("file", sorted(DECLARED))
def test_what_is_declared_is_compared(file: str, shared: Path) -> None:
    """By the script, which must find the fields it compares; or by the method's own test, which names the file."""
    path = next((shared / "golden").rglob(f"{file}.npz"), None)
    if path is None:
        pytest.skip(f"no golden file {file}")
    method, fields = DECLARED[file], set(np.load(path).files)
    if file in BY_SCRIPT:
        assert file.startswith(f"{method}_")
        assert "logits_1shot" in fields
        assert fields & {"logits_5shot", "pred_5shot"}
    else:
        spellings = {method.replace("-", mark) for mark in ("", "_")}
        tests = next(
            p for p in Path(__file__).parent.rglob("test_*.py") if p.stem[len("test_") :] in spellings
        )
        assert file in tests.read_text()
