"""Methods that ask for more: an input size of their own, raw pixels, the name of the class.  Each is declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from null_harness import null_dataset
from torch import Tensor

from fssbench.api import ImageMethod, Information, MethodCard
from fssbench.conformance.method import check_method
from fssbench.contracts.marks import MarkKind
from fssbench.data.reader import Reader
from fssbench.episodes.synthetic import Synthetic
from fssbench.images.reading import resize_image, resize_mask
from fssbench.runs.store import read_run
from fssbench.verification.seals import check_seals

OWN = 24
"""Side of the own input in pixels; the plans have 16."""


def make_method(null: Any, name: str, **card: Any) -> Any:
    """Make a null method that notes what it is given."""
    seen: list[tuple[Tensor, Tensor, Tensor, Any]] = []

    def logits(self: Any, query: Tensor, support: Tensor, support_mask: Tensor) -> Tensor:
        seen.append((query.clone(), support.clone(), support_mask.clone(), None))
        near = support_mask.mean(dim=1) - 0.5
        return torch.stack([-near, near], dim=1)

    def named(
        self: Any, query: Tensor, support: Tensor, support_mask: Tensor, class_names: tuple[str, ...]
    ) -> Tensor:
        seen.append((query, support, support_mask, class_names))
        return logits(self, query, support, support_mask)

    reads_names = Information.CLASS_NAME in card.get("reads", ())
    method = null.make_broken(name, logits=named if reads_names else logits)
    type(method).card = method.card.changed(**card)
    method.seen = seen
    return method


def test_the_input_has_the_own_size_and_the_score_that_of_the_protocol(null: Any) -> None:
    plan, method = null.plan(6, shot=2), make_method(null, "large", input_size=OWN)
    (done,) = null.run("runs", plan, method)
    reader, run = Reader(null_dataset(null)), read_run(done.path)
    for query, support, mask, _ in method.seen:
        assert (tuple(query.shape), tuple(support.shape)) == ((1, 3, OWN, OWN), (1, 2, 3, OWN, OWN))
        assert tuple(mask.shape) == (1, 2, OWN, OWN)
    for episode in plan:
        record = run.records[episode.index]
        truth = resize_mask(reader.mask(episode.query, episode.class_id), 16, 16) == 1
        assert record.inter[0] + record.union[1] == 16 * 16
        assert record.target == truth.sum()
    first = plan[0]
    expected = np.stack([resize_mask(reader.mask(i, first.class_id), OWN, OWN) for i in first.supports])
    assert (method.seen[0][2][0].numpy() == expected).all()


def test_it_is_part_of_the_identity_and_a_mark(null: Any) -> None:
    plan = null.plan(4)
    (done,) = null.run("runs", plan, make_method(null, "asks", input_size=OWN))
    (usual,) = null.run("runs", plan, make_method(null, "asks"))
    (same,) = null.run("same", plan, make_method(null, "asks", input_size=16))
    assert done.identity != usual.identity
    assert same.identity == usual.identity
    assert read_run(done.path).manifest.block.input_size == OWN
    assert "input_size" not in read_run(usual.path).manifest.block.as_stored()
    assert f"own input size ({OWN} px, protocol: 16 px)" in done.marks
    assert {mark.kind for mark in done.marks} - {mark.kind for mark in usual.marks} == {
        MarkKind.OWN_INPUT_SIZE
    }


def test_methods_of_several_sizes_share_a_run_without_moving_each_other(null: Any) -> None:
    plan = null.plan(6)
    alone = [
        null.run(f"alone{size}", plan, make_method(null, "asks", input_size=size))[0] for size in (OWN, 16)
    ]
    both = null.run(
        "both", plan, make_method(null, "asks", input_size=OWN), make_method(null, "usual"), workers=2
    )
    assert null.read_results(both[0].path)[1] == null.read_results(alone[0].path)[1]
    assert null.read_results(both[1].path)[1] == null.read_results(alone[1].path)[1]


def test_raw_pixels_are_the_image_from_zero_to_one(null: Any) -> None:
    plan = null.plan(3)
    raw, usual = make_method(null, "raw", pixels="raw"), make_method(null, "usual")
    null.run("runs", plan, raw, usual)
    reader = Reader(null_dataset(null))
    images = {item: resize_image(reader.image(item), 16) for e in plan for item in (e.query, *e.supports)}
    wanted = {np.float32(image[0, 0, 0]) / np.float32(255) for image in images.values()}
    assert {float(query[0, 0, 0, 0]) for query, *_ in raw.seen} <= set(map(float, wanted))
    assert all(0 <= float(s.min()) <= float(s.max()) <= 1 for _, s, *_ in raw.seen)
    assert any(float(query.min()) < 0 for query, *_ in usual.seen)


def test_a_method_that_reads_the_class_name_is_told_it_and_marked(null: Any) -> None:
    plan = null.plan(6)
    reads = (Information.SUPPORTS, Information.QUERY, Information.CLASS_NAME)
    method = make_method(null, "reader", reads=reads)
    (done,) = null.run("runs", plan, method)
    names = dict(zip(plan.classes, plan.class_names, strict=True))
    told = [seen[3][0] for seen in method.seen if seen[3] is not None]
    assert sorted(told) == sorted(names[episode.class_id] for episode in plan)
    assert "more information (class name)" in done.marks


def test_verify_finds_a_mark_that_was_taken_away(null: Any) -> None:
    (done,) = null.run("runs", null.plan(3), make_method(null, "asks", input_size=OWN))

    def explain() -> str:
        return next(f.detail for f in check_seals(done.path)[0] if f.check == "marks and settings")

    assert "own input size" not in explain()
    manifest = done.path / "manifest.json"
    mark = f"own input size ({OWN} px, protocol: 16 px)"
    manifest.write_text(manifest.read_text().replace(f'"{mark}"', '"sample"'))
    assert "'own input size'" in explain()


class Asks(ImageMethod):
    """Asks for everything that a method may ask for."""

    card = MethodCard(
        name="asks",
        title="Asks",
        paper="none",
        year=2026,
        kind="other",
        backbone="none",
        size=32,
        trained=False,
        reference="none",
        licence="none",
        input_size=40,
        pixels="raw",
        reads=tuple(Information)[:3],
    )

    @property
    def steps(self) -> int:
        return 1

    def logits(  # type: ignore[override]
        self, query: Tensor, support: Tensor, support_mask: Tensor, class_names: tuple[str, ...]
    ) -> Tensor:
        assert len(class_names) == len(query)
        assert query.shape[-1] == 40
        assert 0 <= query.min() <= query.max() <= 1
        near = support_mask.mean(dim=1) - 0.5
        return torch.stack([-near, near], dim=1)

    def adapt(  # type: ignore[override]
        self,
        query: Tensor,
        support: Tensor,
        support_mask: Tensor,
        *,
        generator: Any,
        steps: int,
        class_names: Any,
    ) -> Any:
        assert len(class_names) == 1
        return self.logits


def test_such_a_method_passes_the_checks() -> None:
    failed = {r.check: r.reason for r in check_method(Asks) if r.status == "fail"}
    assert failed == {}


def test_a_method_that_does_not_declare_what_it_takes_fails() -> None:
    card = Asks.card.changed(reads=(Information.SUPPORTS, Information.QUERY))
    silent = type("Silent", (Asks,), {"card": card})
    failed = {r.check for r in check_method(silent) if r.status == "fail"}
    assert "sees_no_answer" in failed


@pytest.mark.parametrize("raw", [False, True])
def test_synthetic_episodes_have_the_values_of_their_kind(raw: bool) -> None:
    images = Synthetic.make(2, 2, raw=raw).query
    assert (float(images.min()) >= 0) is raw
    assert (float(images.max()) <= 1) is raw
