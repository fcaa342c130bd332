"""`plan.show` and `episode.show`: the images of the plan, from the files that a run reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fssbench
from fssbench.api import Dataset, Episode, Plan
from fssbench.errors import DataError, UsageError


@pytest.fixture
def plan(toy: type[Dataset], tmp_path: Path) -> Plan:
    toy.miniature(tmp_path, 0)
    return fssbench.plan("toy", shot=2, data=tmp_path, episodes=4)


def titles(figure: object) -> list[str]:
    return [t.get_text() for a in figure.axes for t in a.texts if t.get_weight() == "bold"]  # type: ignore[attr-defined]


def test_a_plan_shows_its_first_episodes_or_those_that_are_named(plan: Plan) -> None:
    names = [f"episode {e.index}: {plan.class_names[plan.classes.index(e.class_id)]}" for e in plan]
    assert titles(plan.show(3)) == names[:3]
    assert titles(plan.show([3, 0])) == [names[3], names[0]]
    assert titles(plan.show(99)) == names
    assert titles(plan.episodes[2].show()) == names[2:3]
    figure = plan.show(1)
    assert "capped" in figure.get_suptitle()
    assert figure.axes[2].images[0].get_array().shape == (32, 32, 3)


def test_the_truth_is_that_of_the_data_set(plan: Plan) -> None:
    from fssbench.data.location import open_dataset

    dataset = open_dataset("toy", data=plan.data, variant=plan.dataset_variant)
    truth = dataset.mask(plan[0].query, plan[0].class_id)
    share = 100 * np.mean(truth == 1)
    assert f"truth ({share:.0f} % of the query)" in [
        t.get_text() for a in plan[0].show().axes for t in a.texts
    ]


def test_what_cannot_be_drawn_is_refused(plan: Plan, tmp_path: Path) -> None:
    for wrong in (0, [4], [-1], []):
        with pytest.raises(UsageError):
            plan.show(wrong)
    with pytest.raises(UsageError, match="belongs to no plan"):
        Episode(0, 2, "a", ("b",)).show()
    (tmp_path / "toy" / plan[0].query).write_bytes(b"")
    with pytest.raises((DataError, fssbench.errors.PluginError)):
        plan[0].show()


def test_an_episode_knows_the_folder_of_the_plan_that_holds_it(plan: Plan, tmp_path: Path) -> None:
    other = replace(plan, data=tmp_path / "elsewhere")
    assert other == plan
    assert [e.home.data for e in other] == [tmp_path / "elsewhere"] * 4  # type: ignore[union-attr]
    assert [e.home.data for e in plan] == [tmp_path] * 4  # type: ignore[union-attr]
    assert plan.head(2).episodes[0].home.marks == plan.head(2).marks  # type: ignore[union-attr]
