"""`fssbench run` on the null plugin: output, resume, configuration, preflight, exit codes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from messages import error_names
from places import NULL_PLUGIN
from processes import run_commands

from fssbench.cli import main
from fssbench.plugins.registry import REPORTERS
from fssbench.runs.store import find_run_folders, read_run

PLUGIN = NULL_PLUGIN


@pytest.fixture
def run(null):
    """Run `fssbench run` on the null data, in this process."""

    def call(*more: object, method: str | None = "null", out: str = "runs", config=None):
        arguments = [
            "run",
            "--plugin",
            PLUGIN,
            "--data",
            null.data,
            "--device",
            "cpu",
            "-o",
            null.folder / out,
        ]
        if method:
            arguments += ["-m", method]
        if config is not None:
            (null.folder / "run.toml").write_text(config)
            arguments += ["--config", null.folder / "run.toml"]
        return CliRunner().invoke(main, [str(a) for a in [*arguments, *more]])

    return call


LARGE = ("-b", "nulldata", "-k", "1", "--episodes", "6", "--panels", "0")
SMALL = (*LARGE, "--size", "64")


def test_json_is_data_only_and_says_what_was_measured(run, null):
    result = run(*LARGE, "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = null.parse_json_lines(result.stdout)
    stored = read_run(Path(row["run"]))
    summary = json.loads((stored.path / "summary.json").read_text())
    assert row["identity"] == stored.identity
    assert (row["benchmark"], row["fold"], row["shot"], row["seed"]) == ("nulldata", 0, 1, 0)
    assert (row["episodes"], row["planned"], row["computed"]) == (6, 6, 6)
    assert (row["miou"], row["fb_iou"]) == (summary["miou"], summary["fb_iou"])
    assert row["protocol"] == "published/1"
    assert row["marks"] == ["capped (6 of 600 episodes)"]
    assert row["method"] == "null"


def test_talk_goes_to_standard_error_and_quiet_stops_it(run):
    loud, quiet = run(*SMALL), run(*SMALL, "-q", out="other")
    assert loud.stdout == quiet.stdout
    assert "1 run, 6 episodes at 64 px, device cpu" in loud.stderr
    assert "Next: `fssbench report" in loud.stderr
    assert quiet.stderr == ""
    assert "6/6 episodes" in quiet.stdout


def test_same_command_again_computes_nothing(run, null):
    assert run(*SMALL).exit_code == 0
    calls = null.count_calls()
    again = run(*SMALL)
    assert again.exit_code == 0
    assert "6/6 already stored" in again.stdout
    assert null.count_calls() == calls
    (row,) = null.parse_json_lines(run(*SMALL, "--json").stdout)
    assert row["computed"] == 0


def test_folds_shots_seeds_methods_multiply_and_repeat_once(run, null):
    result = run("-b", "nulldata", "-b", "nulldata", "-k", 1, "-k", 2, "-k", 1, "--seed", 0, "--seed", 3,
                 "--episodes", 2, "-m", "null", "--json", "--panels", 0, "--size", 64)  # fmt: skip
    rows = null.parse_json_lines(result.stdout)
    assert [(r["shot"], r["seed"]) for r in rows] == [(1, 0), (1, 3), (2, 0), (2, 3)]
    assert len({r["identity"] for r in rows}) == 4


def test_default_shots_and_protocol(run, null):
    rows = null.parse_json_lines(
        run("-b", "nulldata", "--episodes", 2, "--size", 64, "--json", "--protocol", "fssbench").stdout
    )
    assert [r["shot"] for r in rows] == [1, 5]
    assert {r["protocol"] for r in rows} == {"fssbench/1"}


def test_settings_reach_the_method_and_the_identity(run, null):
    rows = [
        null.parse_json_lines(run(*SMALL, "--json", *more).stdout)[0]
        for more in ((), ("--set", "bias=10"), ("--set", "bias=-10"))
    ]
    assert len({r["identity"] for r in rows}) == 3
    assert [r["method"] for r in rows] == ["null", "null (bias=10)", "null (bias=-10)"]
    assert rows[2]["miou"] == 0


def test_original_size(run, null):
    rows = [
        null.parse_json_lines(run(*LARGE, "--json", "--score-size", s).stdout)[0]
        for s in ("input", "original")
    ]
    assert rows[0]["identity"] != rows[1]["identity"]
    pixels = [sum(next(iter(read_run(Path(r["run"])).records.values())).union) for r in rows]
    assert pixels[0] > 100 * pixels[1]


@pytest.mark.parametrize(
    "text", ["1", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3", "/", "1/", "1.0/2", "¹/2"]
)
def test_shards_that_are_none(run, text):
    result = run(*SMALL, f"--shard={text}")
    assert result.exit_code == 2
    assert error_names(result.stderr, repr(text), "I/N with 1 <= I <= N")


def test_shards_cover_the_plan(run, null):
    rows = [null.parse_json_lines(run(*SMALL, "--json", "--shard", f"{i}/4").stdout)[0] for i in range(1, 5)]
    assert [r["planned"] for r in rows] == [1, 2, 1, 2]
    done = [i for r in rows for i in read_run(Path(r["run"])).records]
    assert done == list(range(6))


def test_shards_of_a_launcher(run, null, monkeypatch):
    """Each process of a launcher computes its part; the same command without `--shard` is refused under torchrun."""
    (by_hand,) = null.parse_json_lines(run(*SMALL, "--json", "--shard", "2/3").stdout)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    for name, value in {"MIN": "0", "MAX": "2", "COUNT": "3"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    (by_array,) = null.parse_json_lines(run(*SMALL, "--json", "--shard", "auto").stdout)
    assert by_array["identity"] == by_hand["identity"]
    assert by_array["computed"] == 0
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}.items():
        monkeypatch.setenv(name, value)
    alone = run(*SMALL)
    assert alone.exit_code == 2
    assert error_names(alone.stderr, "torchrun", "--shard auto")


# --- configuration file -------------------------------------------------------------------------


def test_configuration_file_and_the_command_line_before_it(run, null):
    config = """
    method = "null"
    benchmark = ["nulldata"]
    shot = [1, 2]
    episodes = 3
    panels = 0
    size = 64
    set = { bias = 0.25 }
    json = true
    """
    rows = null.parse_json_lines(run(method=None, config=config).stdout)
    assert [(r["shot"], r["planned"], r["method"]) for r in rows] == [
        (1, 3, "null (bias=0.25)"),
        (2, 3, "null (bias=0.25)"),
    ]
    rows = null.parse_json_lines(run("-k", 5, "--episodes", 2, method=None, config=config).stdout)
    assert [(r["shot"], r["planned"]) for r in rows] == [(5, 2)]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('methd = "null"', "unknown key .* 'methd'. Did you mean method"),
        ("score_size = 'input'", "Did you mean score-size"),
        ("episodes = 'many'", "many"),
        ("episodes = 0", "0"),
        ("episodes = [3]", "takes one value, not a list"),
        ("out = { a = 1 }", "takes one value, not a table"),
        ("shot = ['one']", "one"),
        ("shard = '5/2'", "must have the form I/N"),
        ("set = ['novalue']", "must have the form KEY=VALUE"),
        ("episodes = ", "not valid TOML"),
        ("episodes = 1\nepisodes = 2", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
        ("config = 'x'", "unknown key"),
        ("score-size = 'big'", "big"),
    ],
)
def test_configuration_file_that_is_wrong(run, config, said):
    result = run("-b", "nulldata", config=config)
    assert result.exit_code == 2, result.output
    assert __import__("re").search(said, result.stderr), result.stderr
    assert "Traceback" not in result.stderr


def test_configuration_file_that_is_not_there(run, null):
    result = run("--config", null.folder / "none.toml")
    assert result.exit_code == 2
    assert "none.toml" in result.stderr
    (null.folder / "bad.toml").write_bytes(b"\xff\xfe")
    assert run("--config", null.folder / "bad.toml").exit_code == 2
    assert run("--config", null.folder).exit_code == 2


# --- preflight ----------------------------------------------------------------------------------


def test_preflight_collects_problems_and_touches_no_episode(run, null):
    (null.folder / "file").write_text("in the way")
    result = run("-b", "nulldata", "-b", "pascal5i", "-m", "nul", "-m", "hsnet", "--fold", 0, out="file")
    assert result.exit_code == 2
    assert "problems before the first episode" in result.stderr
    for said in (
        "unknown method 'nul'. Did you mean null",
        "cannot be written",
        "data set 'pascal' not found",
    ):
        assert said in result.stderr
    assert null.count_calls() == 0
    assert (null.folder / "file").read_text() == "in the way"


def test_problem_in_a_setting_is_found_for_every_method_once(run, null):
    result = run("-b", "nulldata", "-k", 1, "-k", 5, "--set", "bais=1")
    assert result.exit_code == 2
    assert result.stderr.count("bais") == 1
    assert "Did you mean bias" in result.stderr
    assert null.count_calls() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-b", "nuldata"), "unknown benchmark 'nuldata'. Did you mean nulldata"),
        (("--suite", "cross-domian"), "Did you mean cross-domain"),
        (("-b", "nulldata:x"), "variant"),
        (("-b", "nulldata", "--fold", 7), "fold"),
        (("-b", "nulldata", "--protocol", "publishd"), "Did you mean published"),
        (("-b", "nulldata", "--device", "gpu"), "device 'gpu' cannot be used"),
        (("-b", "nulldata", "--ablate", "head"), "ablation"),
        (("-b", "nulldata", "--set", "sleep=soon"), "soon"),
        (("-b", "nulldata", "--set", "sleep"), "must have the form KEY=VALUE"),
        (("-b", "nulldata", "--set", "device=cpu"), "--device"),
        (("-b", "nulldata", "--set", "seed=3"), "--seed"),
        (("-b", "nulldata", "--score-size", "huge"), "huge"),
        (("-b", "nulldata", "--episodes", 0), "0"),
        ((), "nothing to run on"),
        (("-b", "nulldata", "--shots", 1), "--shot"),
    ],
)
def test_usage_errors_name_what_is_allowed(run, null, arguments, said):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert null.count_calls() == 0


def test_no_method_and_no_data(run, null, monkeypatch):
    assert "no method given" in run("-b", "nulldata", method=None).stderr
    result = CliRunner().invoke(main, ["run", "-m", "null", "-b", "nulldata", "--plugin", str(PLUGIN)])
    assert result.exit_code == 3
    assert "--data mini" in result.stderr
    result = run("-b", "nulldata", "--data", null.folder / "nowhere")
    assert result.exit_code == 3
    assert "does not exist" in result.stderr


def test_plan_longer_than_the_class_lists_allow(run):
    result = run("-b", "nulldata", "-k", 50, "--protocol", "fssbench")
    assert result.exit_code == 3
    assert "disc" in result.stderr


def test_unwritable_out_is_found_before_anything(run, null):
    if os.geteuid() == 0:
        out = "/proc/nowhere"
    else:
        (null.folder / "closed").mkdir(mode=0o555)
        out = str(null.folder / "closed" / "runs")
    result = run(*SMALL, "-o", out)
    assert result.exit_code == 3
    assert error_names(result.stderr, out, "cannot be written", "Next:", "--out")
    assert null.count_calls() == 0


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("raise RuntimeError('at import')", 4, "RuntimeError: at import"),
        ("import nowhere_at_all", 4, "nowhere_at_all"),
        ("def broken(:", 4, "SyntaxError"),
        ("raise SystemExit(0)", 4, "SystemExit"),
        ("x = 1", 4, "defines no Method"),
        ("def predict(support_images, support_masks, query_image): ...", 4, "--wrap"),
    ],
)
def test_broken_plugin_file(run, null, text, code, said):
    (null.folder / "broken.py").write_text(text)
    result = run(*SMALL, "--plugin", null.folder / "broken.py")
    assert result.exit_code == code
    assert said in result.stderr
    assert null.count_calls() == 0
    assert run(*SMALL, "--plugin", null.folder / "missing.py").exit_code == 2


# --- broken methods -----------------------------------------------------------------------------

BROKEN = """
from fssbench.api import ImageMethod, MethodCard
class {cls}(ImageMethod):
    card = MethodCard(name="{name}", title="t", paper="p", year=2026, kind="other", backbone="none", size=32,
                      trained=False, reference="none", licence="none")
    def logits(self, query, support, support_mask):
        {body}
"""


def test_broken_method_ends_in_four_and_the_others_go_on(run, null):
    body = "raise ValueError('[bold]no \\x1b[31m')"
    (null.folder / "odd.py").write_text(BROKEN.format(cls="Odd", name="odd", body=body))
    result = run(*SMALL, "--plugin", null.folder / "odd.py", "-m", "odd", "--json")
    assert result.exit_code == 4
    (row,) = null.parse_json_lines(result.stdout)
    assert (row["method"], row["computed"]) == ("null", 6)
    assert "error: method 'odd', episode 0 (nulldata, fold 0): raised ValueError: [bold]no" in result.stderr
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr


def test_what_a_method_prints_is_not_among_the_json_lines(run, null):
    body = "print('debug in logits', query.shape); raise ValueError('no')"
    text = "print('debug at import')\n" + BROKEN.format(cls="Odd", name="odd", body=body)
    (null.folder / "odd.py").write_text(text)
    result = run(*SMALL, "--plugin", null.folder / "odd.py", "-m", "odd", "--json")
    assert [row["method"] for row in null.parse_json_lines(result.stdout)] == ["null"]
    assert "debug at import" in result.stderr
    assert "debug in logits" in result.stderr


def test_method_that_cannot_be_built_is_found_by_the_preflight(run, null):
    text = BROKEN.format(cls="Late", name="late", body="return 1")
    text += "    def __init__(self, config, backbone=None):\n        raise KeyError('init')\n"
    (null.folder / "late.py").write_text(text)
    result = run(*SMALL, "--plugin", null.folder / "late.py", "-m", "late")
    assert result.exit_code == 4
    assert "'late' cannot be built" in result.stderr
    assert null.count_calls() == 0


def test_locked_run_ends_in_five(run, null):
    assert run(*SMALL).exit_code == 0
    path = null.find_run("runs")
    (path / ".owner.json").write_text('{"pid": 4, "host": "far"}')
    result = run(*SMALL)
    assert result.exit_code == 5
    assert "process 4 on host far" in result.stderr


def test_damaged_run_ends_in_three(run, null):
    assert run(*SMALL).exit_code == 0
    log = null.find_run("runs") / "episodes.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"i":2', b'"i":3'))
    result = run(*SMALL)
    assert result.exit_code == 3
    assert "line 3 is damaged" in result.stderr


def test_secrets_of_the_command_line_and_the_environment_are_kept_out(null):
    secrets = [f"s3cretvalue{i:02d}" for i in range(16)]
    env = {"AWS_SECRET_ACCESS_KEY": secrets[0], "HF_TOKEN": secrets[1], "GITHUB_TOKEN": secrets[2],
           "OPENAI_API_KEY": secrets[3], "PGPASSWORD": secrets[4]}  # fmt: skip
    fields = "".join(
        f"    {name}: str = ''\n"
        for name in ("api_key", "password", "address", "header", "options", "token", "plain")
    )
    plugin = null.folder / "remote.py"
    source = Path(PLUGIN).read_text()
    assert "    bias: float = 0.0\n" in source
    plugin.write_text(source.replace("    bias: float = 0.0\n", f"    bias: float = 0.0\n{fields}"))
    config = null.folder / "c.toml"
    config.write_text(f'# token = {secrets[5]}\nset = ["password={secrets[6]}", "api_key={secrets[7]}", '
                      f'"address=https://anna:{secrets[8]}@host/v1"]\n')  # fmt: skip
    common = (
        "run",
        "-m",
        "null",
        *SMALL,
        "--plugin",
        plugin,
        "--out",
        null.folder / "runs",
        "--data",
        null.data,
    )
    given = (
        "--set", f"api_key={secrets[9]}", f"--set=token={secrets[10]}",
        "--set", f"address=https://anna:{secrets[11]}@host/v1?sig={secrets[12]}",
        "--set", f"header=Authorization: Bearer {secrets[13]}", "--set", f'options={{"api_key": "{secrets[14]}"}}',
        "--set", f"plain=hf_{secrets[15]}",
    )  # fmt: skip
    told = []
    commands = [(*common, *extra) for extra in (("--config", config), given)]
    for done in run_commands(*commands, folder=null.folder, environment=env):
        assert done.returncode == 0, done.stderr
        told += [done.stdout, done.stderr]
    # the page shows the figures too
    formats = [word for name in REPORTERS.names() if name != "figures" for word in ("--format", name)]
    runs, report, site = null.folder / "runs", null.folder / "report", null.folder / "site"
    for words in (
        ("report", runs, "-o", report, "--resamples", 10, *formats),
        ("leaderboard", runs, "-o", site, "--resamples", 10),
        ("list", "runs", "--out", runs, "--json"),
        ("score", runs, "--json"),
        *(("show", path) for path in find_run_folders(runs)),
    ):
        shown = CliRunner().invoke(main, [str(word) for word in words])
        assert shown.exit_code == 0, shown.output
        told.append(shown.output)
    paths = [path for folder in (runs, report, site) for path in folder.rglob("*")]
    told += [str(path) for path in paths]
    told += [path.read_bytes().decode("latin-1") for path in paths if path.is_file()]
    assert not [secret for secret in secrets for text in told if secret in text]
    manifests = [json.loads((path / "manifest.json").read_text()) for path in find_run_folders(runs)]
    assert len(manifests) == 2
    assert all(manifest["context"]["arguments"][:3] == ["run", "-m", "null"] for manifest in manifests)
    # so the setting itself was passed, and is shown without its value
    assert "api_key=[hidden]" in str(manifests)


def test_a_secret_is_in_no_error_message(run, null):
    plugin = null.folder / "remote.py"
    plugin.write_text(
        "from fssbench.api import ImageMethod, MethodCard, MethodConfig\n"
        "class Settings(MethodConfig):\n    api_key: int = 0\n"
        "class Remote(ImageMethod):\n    Config = Settings\n"
        "    card = MethodCard(name='remote', title='x', paper='x', year=2026, kind='other', backbone='none',\n"
        "                      size=64, trained=False, reference='x', licence='x')\n"
        "    def logits(self, query, support, support_mask): ...\n"
    )
    result = run(*SMALL, "--plugin", plugin, "--set", "api_key=s3cretvalue", method="remote")
    assert result.exit_code == 2, result.output
    assert error_names(result.output, "api_key", "[hidden]")
    assert "s3cretvalue" not in result.output


def test_another_input_size_is_marked_and_another_measurement(run, null):
    rows = [
        null.parse_json_lines(run(*SMALL, "--json", "--size", size).stdout)[0] for size in ("400", "64", "96")
    ]
    assert [row["marks"][:-1] for row in rows] == [
        [],
        ["resized (64 px, published: 400)"],
        ["resized (96 px, published: 400)"],
    ]
    assert len({row["identity"] for row in rows}) == 3
    assert [read_run(Path(row["run"])).plan.size for row in rows] == [400, 64, 96]
    refused = run(*SMALL, "--size", "8")
    assert refused.exit_code == 2
    assert "32" in refused.stderr
