"""HTML for notebooks: every text is escaped."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given, settings, strategies as st

from fssbench.files.clean_text import clean_line
from fssbench.markup import make_fields, make_table

TEXT = st.text(max_size=12) | st.sampled_from(["<script>", '"><img onerror=x>', "&lt;", "\x1b[31m", "‮"])


@settings(max_examples=60, deadline=None)
@given(name=TEXT, values=st.lists(TEXT, min_size=1, max_size=3))
def test_what_is_shown_is_the_text_and_no_element_more(name: str, values: list[str]) -> None:
    for page, number in (
        (make_fields({name: values}), 1 + 1 + 2 + len(values) - 1),
        (make_table([name], [[v] for v in values]), 1 + 3 + 1 + 1 + 2 * len(values) - 1),
    ):
        tree = ElementTree.fromstring(page.replace("<br>", "<br/>"))
        assert len(list(tree.iter())) == number
        assert "".join(tree.itertext()) == clean_line(name) + "".join(map(clean_line, values))
