"""The leaderboard: whole without its script, closed to the outside, and only like beside like."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest
from browser import browse, needs_browser
from click.testing import CliRunner
from fssbench.reports.formats.csv_report import CsvReporter
from fssbench.reports.formats.figure_files import FigureReporter
from fssbench.reports.formats.html import HtmlReporter
from fssbench.reports.formats.json_report import JsonReporter
from fssbench.reports.formats.latex import LatexReporter
from fssbench.reports.formats.markdown import MarkdownReporter
from fssbench.reports.leaderboard import LeaderboardReporter
from fssbench.reports.leaderboard.board import make_board
from fssbench.reports.leaderboard.names import name_page
from fssbench.reports.leaderboard.site import render_site
from hostile_names import NASTY, make_hostile_results, parse_page
from hypothesis import given, settings, strategies as st
from manifests import make_manifest
from report_factory import SKILL, flag_best, make_cell, make_run

from fssbench.analysis.row_names import row_title, with_names
from fssbench.api import Cell, Results
from fssbench.cli import main
from fssbench.testing import check_reporter


def cells_of(benchmark: str, shot: int, folds: int = 1, **changes: object) -> list[Cell]:
    group = []
    for method in SKILL:
        kind = "prototype" if method == "panet" else "pixelwise"
        context = {"title": method.upper(), "kind": kind, "checkpoint": f"{method}.safetensors"}
        manifest = make_manifest(context=context, config={"width": 64})
        own = {"backbone": "vgg16"} if method == "hsnet" else {}
        given_ = {"episodes": 40, "manifest": manifest} | own | changes
        group.append(make_cell([make_run(method, benchmark, f, shot, **given_) for f in range(folds)]))
    return flag_best(group)


def gathered(*groups: list[Cell]) -> Results:
    cells = [cell for group in groups for cell in group]
    return Results(
        tuple(r for c in cells for r in c.folds.values()), tuple(cells), 200, 0, notes=("left out: z",)
    )


@pytest.fixture(scope="module")
def results() -> Results:
    return gathered(
        cells_of("pascal5i", 1, 4),
        cells_of("pascal-to-isic2018:isic1", 1),
        cells_of("pascal-to-isic2018:isic1", 5),
        cells_of("pascal-to-deepglobe", 1, marks=("miniature", "untrained"), identity="m"),
    )


@pytest.fixture(scope="module")
def pages(results: Results) -> dict[str, str]:
    return render_site(results)


def test_a_page_a_method_and_a_benchmark(pages: dict[str, str]) -> None:
    assert set(pages) == {
        "index.html",
        "benchmark-pascal5i.html",
        "benchmark-pascal-to-isic2018_isic1.html",
        "benchmark-pascal-to-deepglobe.html",
        *(f"method-{method}.html" for method in SKILL),
    }


def test_every_link_leads_somewhere_and_none_outside(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        tree = parse_page(text)
        ids = set(re.findall(r'\sid="([^"]+)"', text))
        for address in tree.addresses:
            assert address[1:] in ids if address.startswith("#") else address in pages, (name, address)
        assert {"index.html"} <= set(tree.addresses) or name == "index.html"
        assert not {"link", "iframe", "object", "base", "img"} & {e[0] for e in tree.elements if e[0]}
        assert "url(" not in re.sub(r"url\(#", "", text)
    linked = {address for text in pages.values() for address in parse_page(text).addresses}
    assert set(pages) <= linked


def test_the_browser_may_run_one_script_known_by_its_bytes(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
        assert len(scripts) == text.count("<script") == (name == "index.html")
        for script in scripts:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"script-src 'sha256-{digest}'" in policy.replace("&#43;", "+")
        assert "script-src" not in policy or scripts
        assert not re.search(r"\son\w+=", text)


def test_the_table_is_whole_without_the_script(results: Results, pages: dict[str, str]) -> None:
    text = pages["index.html"]
    assert re.search(r'<form id="filters" class="filters" hidden>', text)
    assert "<button" not in text[text.index("<table") : text.index("</table>")]
    for cell in results.cells:
        number = re.escape(f"{cell.miou.value:.1f}")
        assert re.search(rf'data-value="{re.escape(repr(cell.miou.value))}"', text)
        assert re.search(rf">\s*(<strong[^>]*>)?{number}", text)
        assert f"[{cell.miou.low:.1f}, {cell.miou.high:.1f}]" in text
    assert text.count("n = 40") == 9
    assert text.count("n = 160") == 3
    assert text.count("<sup>MU</sup>") == 3
    assert "not a ranking" in text
    assert "left out: z" in text


def test_rows_stand_by_name_and_the_best_is_marked(results: Results) -> None:
    shown = make_board(results)
    for setting in shown.settings:
        assert [row.label for row in setting.rows] == sorted(row.label for row in setting.rows)
    bold = [
        (row.label, column.benchmark, entry.entry.tied)
        for setting in shown.settings
        for row in setting.rows
        for column, entry in zip(shown.columns, row.entries, strict=True)
        if entry.entry and entry.entry.bold
    ]
    named = with_names(results).cells
    assert sorted(bold) == sorted((row_title(c), c.benchmark, c.tied) for c in named if c.best or c.tied)


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "fssbench/1"},
        {"seed": 7},
        {"score_size": "original"},
        {"marks": ("sample (40 of 900 images)",)},
        {"marks": ("capped (8 of 600 episodes)",)},
        {"marks": ("miniature",)},
    ],
)
def test_what_is_measured_in_another_way_stands_under_its_own_heading(changes: dict[str, object]) -> None:
    plain, other = cells_of("pascal5i", 1), cells_of("pascal5i", 1, identity="o", **changes)
    shown = make_board(gathered(plain, other))
    assert [len(setting.rows) for setting in shown.settings] == [3, 3]
    assert len({setting.heading for setting in shown.settings}) == 2
    assert len(shown.columns) == 1


def test_variants_have_columns_of_their_own() -> None:
    shown = make_board(
        gathered(cells_of("coco20i:interleaved", 1), cells_of("coco20i:contiguous", 1, identity="o"))
    )
    assert len({column.title for column in shown.columns}) == len(shown.columns) == 2
    assert all(sum(e.entry is not None for e in row.entries) == 2 for s in shown.settings for row in s.rows)


def test_one_method_measured_twice_has_two_rows_of_two_names() -> None:
    shown = make_board(gathered(cells_of("pascal5i", 1), cells_of("pascal5i", 1, identity="again")))
    labels = [row.label for row in shown.settings[0].rows]
    assert [label.partition(",")[0] for label in labels] == [name for name in sorted(SKILL) for _ in "12"]
    assert len(set(labels)) == len(labels)


def test_a_method_s_page_has_its_figures_card_settings_and_checkpoints(
    results: Results, pages: dict[str, str]
) -> None:
    text = pages["method-pmnet.html"]
    for cell in results.cells:
        shown = f"[{cell.miou.low:.1f}, {cell.miou.high:.1f}]" in text
        assert shown or cell.method != "pmnet"
    words = re.sub(r"\s+", " ", "".join(parse_page(text).text))
    for told in ("Pixel Matching Network", "Reference code", "pmnet.safetensors", "width=64", "Notes"):
        assert told in words
    stranger = gathered(cells_of("pascal5i", 1))
    cells = tuple(replace(cell, method="stranger") for cell in stranger.cells)
    text = render_site(replace(stranger, cells=cells))["method-stranger.html"]
    assert "not installed where the site was built" in text


def test_a_benchmark_s_page_has_facts_pitfalls_and_published_figures(pages: dict[str, str]) -> None:
    text = pages["benchmark-pascal-to-isic2018_isic1.html"]
    words = "".join(parse_page(text).text)
    for told in ("Tested on", "Published (PMNet paper, WACV 2024)", "PATNet", "Comparison with the paper"):
        assert told in words
    assert '<a href="method-pmnet.html">' in text


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(max_size=30) | st.sampled_from(["a", "a:b", "a_b", "A", "a--b", "con", ".."]), unique=True
    )
)
def test_no_two_names_share_a_page_and_every_file_name_is_safe(names: list[str]) -> None:
    files = [name_page("method", name) for name in names]
    assert len({file.lower() for file in files}) == len(names)
    for file in files:
        assert re.fullmatch(r"method-[a-z0-9._-]{1,110}\.html", file)


def test_plain_names_stay_readable() -> None:
    assert name_page("benchmark", "pascal-to-isic2018:isic1") == "benchmark-pascal-to-isic2018_isic1.html"
    assert name_page("method", "pmnet") == "method-pmnet.html"


@pytest.fixture(scope="module")
def benign() -> list[list[object]]:
    return [parse_page(text).elements for text in render_site(everywhere("benign")).values()]


def everywhere(text: str) -> Results:
    """Results in which the method, its kind, its title, settings and checkpoint are `text` too."""
    results = make_hostile_results(text)
    context = {"title": text, "kind": text, "checkpoint": text, "checkpoint_sha256": text}
    manifest = make_manifest(context=context, config={text: text})
    run = replace(results.runs[0], method=text, manifest=manifest)
    cell = replace(results.cells[0], method=text, folds={run.fold: run})
    return replace(results, runs=(run,), cells=(cell,))


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_hostile_names_stay_text(text: str, benign: list[list[object]], tmp_path: Path) -> None:
    pages = render_site(everywhere(text))
    assert [parse_page(page_).elements for page_ in pages.values()] == benign
    for name, page_ in pages.items():
        assert not set("".join(parse_page(page_).text)) & {"\x00", "\x1b", "\u202e", "\u2028"}
        assert all(a in pages or a.startswith("#") for a in parse_page(page_).addresses)
        (tmp_path / name).write_text(page_, encoding="utf-8")


def test_equal_results_give_equal_bytes(results: Results, pages: dict[str, str]) -> None:
    assert render_site(results) == pages


@pytest.mark.parametrize(
    "cls",
    [
        LeaderboardReporter,
        CsvReporter,
        FigureReporter,
        HtmlReporter,
        JsonReporter,
        LatexReporter,
        MarkdownReporter,
    ],
)
def test_every_reporter_keeps_its_contract(cls: type) -> None:
    assert not [result for result in check_reporter(cls) if result.status != "pass"]


def test_the_command_writes_the_site(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {}

    def collect(paths: tuple[Path, ...], **options: int) -> Results:
        told.update(options, paths=[str(p) for p in paths])
        return results

    monkeypatch.setattr("fssbench.analysis.collect.collect", collect)
    out = tmp_path / "site"
    answer = CliRunner().invoke(main, ["leaderboard", "a", "b", "-o", str(out), "--resamples", "9", "--json"])
    assert answer.exit_code == 0, answer.output
    assert told == {"paths": ["a", "b"], "resamples": 9, "seed": 0}
    written = [json.loads(line)["written"] for line in answer.stdout.splitlines()]
    assert sorted(written) == sorted(map(str, out.iterdir()))
    assert "note: left out: z" in answer.stderr


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    answer = CliRunner().invoke(main, ["leaderboard", str(tmp_path / "none"), "-o", str(tmp_path / "site")])
    assert answer.exit_code == 3
    assert "no runs found" in answer.stderr


# ---------------------------------------------------------------- in a browser


def rows_of(dom: str) -> list[str]:
    """Methods whose rows are shown, in order."""
    table = dom[dom.index('<table id="board"') : dom.index("</table>")]
    rows = re.findall(r'<tr data-kind="[^"]*" data-backbone="[^"]*"([^>]*)>.*?data-value="([^"]*)"', table)
    hidden = [b for b in re.findall(r"<tbody([^>]*)>", table) if "hidden" in b]
    assert len(hidden) <= table.count("<tbody")
    return [name for attributes, name in rows if "hidden" not in attributes]


CLICKS = """
addEventListener("load", function () {
  var log = [];
  var key = '[data-key="pascal5i/1"]';
  function note() { log.push((document.querySelector(key).getAttribute("aria-sort") || "none") + location.hash); }
  function step(n) {
    if (n === 3) {
      var select = document.querySelector("select[name=kind]");
      select.value = "prototype";
      select.dispatchEvent(new Event("change", { bubbles: true }));
    } else {
      document.querySelector(key + " button").click();
    }
    setTimeout(function () {
      note();
      if (n < 3) { step(n + 1); } else { document.title = log.join(" | "); }
    }, 50);
  }
  step(0);
});
"""
VISITS = {
    "descending": "index.html#sort=pascal5i/1&order=descending",
    "filtered": "index.html#sort=pascal5i/1&order=ascending&kind=pixelwise&marks=untrained&shot=1",
    "nothing": "index.html#backbone=vgg16&suite=cross-domain&sort=no&shot=zz",
    "clicked": "clicked.html",
}
COLLECT = """
function collect() {
  var pages = {};
  document.querySelectorAll("iframe").forEach(function (frame) {
    pages[frame.name] = frame.contentDocument.documentElement.outerHTML;
  });
  document.getElementById("out").textContent = JSON.stringify(pages);
}
addEventListener("load", function () { setTimeout(collect, 1000); });  // the clicks take 200 ms
"""


@pytest.fixture(scope="module")
def visits(pages: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The elements of the board at each address, after its script has run.

    The browser starts once, with a page that has a frame for each address.
    """
    folder = tmp_path_factory.mktemp("board")
    text = pages["index.html"]
    (folder / "index.html").write_text(text, encoding="utf-8")
    # a copy of the page whose policy allows one more script, the one that clicks
    digest = base64.b64encode(hashlib.sha256(CLICKS.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ")
    text = text.replace("</body>", f"<script>{CLICKS}</script></body>")
    (folder / "clicked.html").write_text(text, encoding="utf-8")
    frames = [f'<iframe name="{name}" src="{escape(address)}"></iframe>' for name, address in VISITS.items()]
    wrapper = folder / "frames.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8">{"".join(frames)}<pre id="out"></pre><script>{COLLECT}</script>'
    )
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=5000")
    shown = browse(wrapper, folder / "profile", *flags)
    result = re.search(r'<pre id="out">(\{.*?\})</pre>', shown, re.DOTALL)
    assert result, shown[-300:]
    answers: dict[str, str] = json.loads(unescape(result[1]))
    return answers


@needs_browser
@pytest.mark.timeout(240)
def test_the_address_says_what_is_sorted_and_shown(results: Results, visits: dict[str, str]) -> None:
    values = {c.method: c.miou.value for c in results.cells if (c.benchmark, c.shot) == ("pascal5i", 1)}
    order = sorted(values, key=lambda m: -values[m])
    whole = order  # the setting of whole data, then that of the miniature, whose methods are untrained
    marked = [f"{method}, untrained" for method in sorted(values)]
    dom = visits["descending"]
    assert rows_of(dom) == [*whole, *marked]
    assert re.search(r'data-key="pascal5i/1"[^>]*aria-sort="descending"', dom)
    assert len(re.findall(r"<th[^>]*aria-sort=", dom)) == 1
    assert '<form id="filters" class="filters">' in dom
    assert dom.count("<button") == 1 + 2 + 4  # "Show all", method and parameters, four columns
    assert "6 of 6 rows, by PASCAL-5i, 1-shot, descending, within each setting" in dom
    dom = visits["filtered"]
    assert rows_of(dom) == [m for m in reversed(order) if m != "panet"]
    heads = re.findall(r'<th[^>]*data-key="([^"]+)"([^>]*)>', dom)
    assert [key for key, attributes in heads if "hidden" in attributes] == ["pascal-to-isic2018:isic1/5"]
    assert '<option value="untrained">without untrained</option>' in dom
    dom = visits["nothing"]
    assert rows_of(dom) == []
    assert "0 of 6 rows" in dom


@needs_browser
@pytest.mark.timeout(240)
def test_buttons_and_filters_write_the_address(visits: dict[str, str]) -> None:
    dom = visits["clicked"]
    (title,) = re.findall(r"<title>(.*?)</title>", dom)
    assert title.replace("&amp;", "&").split(" | ") == [
        "descending#sort=pascal5i%2F1&order=descending",
        "ascending#sort=pascal5i%2F1&order=ascending",
        "none",
        "none#kind=prototype",
    ]
    assert set(rows_of(dom)) == {"panet", "panet, untrained"}
