"""Plans as notebooks and terminals show them."""

from __future__ import annotations

import pickle

from run_folders import make_plan

from fssbench.contracts.episodes import Episode


def test_a_plan_is_one_line_with_its_marks() -> None:
    plan = make_plan("pascal5i", 0, 1, 1000).head(7)
    text = repr(plan)
    assert "\n" not in text
    assert len(text) < 300
    for part in ("pascal5i", "fold 0", "7 episodes", plan.sha256[:12], "capped (7 of 1000 episodes)"):
        assert part in text
    page = plan._repr_html_()
    for part in ("pascal5i", plan.sha256, "capped (7 of 1000 episodes)", "<td"):
        assert part in page


def test_names_of_classes_are_escaped() -> None:
    plan = make_plan("pascal5i", 0, 1, 5)
    object.__setattr__(plan, "class_names", ("<script>", *plan.class_names[1:]))
    assert "<script>" not in plan._repr_html_()
    assert "&lt;script&gt;" in plan._repr_html_()


def test_the_home_of_an_episode_is_no_part_of_it() -> None:
    plan = make_plan("pascal5i", 0, 1, 3)
    alone = Episode(*(getattr(plan[0], name) for name in ("index", "class_id", "query", "supports")))
    assert plan[0] == alone
    assert hash(plan[0]) == hash(alone)
    assert repr(plan[0]) == repr(alone)
    assert pickle.loads(pickle.dumps(plan)) == plan
