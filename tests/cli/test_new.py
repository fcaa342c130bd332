"""`fssbench new`: the start of a plugin works at once, and a name that cannot be one is refused.

The templates are modules of fssbench, so `mypy -p fssbench` types them strictly; here they are linted under other
names.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_command
from messages import error_names
from places import DOCS, PLUGIN_PACKAGE, ROOT, TEMPLATES
from run_folders import make_plan, write_run

from fssbench.api import UsageError
from fssbench.errors import DataError
from fssbench.new_plugins import TEMPLATES as KINDS, make_start, require_free_name, write_start
from fssbench.plugins.registry import DATASETS, load_plugin

LONG = "a-name-that-is-nearly-as-long-as-a-name-may-be-yes"
SMALL = ("--data", "mini", "--episodes", 1, "--shot", 1, "--size", 32, "--quiet")


EVERY = [(kind, template) for kind, templates in KINDS.items() for template in templates]


@pytest.mark.parametrize(("kind", "template"), EVERY)
def test_a_start_that_is_called_mine_is_the_template(kind: str, template: str) -> None:
    start = make_start(kind, "mine", template=template)
    code = re.sub(r"year=\d+", "year=2026", start.files["mine.py"])
    assert code == (TEMPLATES / f"{template}.py").read_text()


def test_every_template_is_a_start() -> None:
    modules = {path.stem for path in TEMPLATES.glob("*.py")} - {"__init__"}
    assert modules == {template for _, template in EVERY}


@pytest.mark.parametrize("template", ["method", "wrapped_method", "backbone", "dataset", "reporter"])
def test_the_documentation_shows_the_templates(template: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "plugins.md").read_text(), flags=re.DOTALL)
    assert (TEMPLATES / f"{template}.py").read_text() in blocks


def test_every_start_is_linted_under_any_name(tmp_path: Path) -> None:
    """The child process is ruff, which takes milliseconds."""
    for package in (False, True):
        for kind, template in EVERY:
            for name in ("my_net", LONG, "settings"):
                start = make_start(kind, name, template=template, package=package)
                write_start(start, tmp_path / f"{template}{package}")
    users = (
        "lint.isort.known-third-party=['fssbench']",
        "lint.isort.known-first-party=['my_net', 'settings', 'a_*']",
    )
    configs = [word for config in (ROOT / "pyproject.toml", *users) for word in ("--config", str(config))]
    for verb in (["check"], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", *verb, "-q", *configs, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_data_set_is_a_benchmark_at_once(tmp_path: Path) -> None:
    new = run_command("new", "dataset", "my-pictures", folder=tmp_path)
    assert new.stdout == "my_pictures.py\n"
    assert new.stderr.splitlines() == [
        "Next: fssbench check my_pictures.py",
        "Then: fssbench run --plugin my_pictures.py --method panet --benchmark my-pictures --data mini",
    ]
    check = run_command("check", "my_pictures.py", folder=tmp_path)
    assert check.exit_code == 0, check.output
    words = ("run", "--plugin", "my_pictures.py", "-m", "panet", "-b", "my-pictures", *SMALL)
    done = run_command(*words, folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert "my-pictures" in done.stdout


def test_a_new_method_with_weights_is_trained_at_once(tmp_path: Path, shapes: Path) -> None:
    new = run_command("new", "method", "student", "--trainable", folder=tmp_path)
    assert "train --plugin student.py --method student" in new.stderr
    load_plugin(PLUGIN_PACKAGE / "src" / "fssbench_toys" / "backbones.py")  # the smallest backbone
    check = run_command("check", "student.py", "--backbone", "toy-stages", folder=tmp_path)
    assert check.exit_code == 0, check.output
    assert {line.split("\t")[0] for line in check.stdout.splitlines() if "\tloss_" in line} == {"pass"}
    words = ("train", "--plugin", "student.py", "-m", "student", "-b", "shapes", "--data", shapes)
    small = ("--backbone", "toy-stages", "--weights", "random", "--batch", 1, "--val-episodes", 0)
    done = run_command(*words, *small, "--steps", 1, "--size", 32, folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert "1 step," in done.stdout


def test_a_new_reporter_writes_its_table(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", make_plan("fss1000", 0, 1, 20), "panet")
    assert run_command("new", "reporter", "lines", folder=tmp_path).exit_code == 0
    words = ("report", "--plugin", "lines.py", "--format", "lines", "--resamples", 50)
    done = run_command(*words, folder=tmp_path)
    assert done.exit_code == 0, done.output
    table = (tmp_path / "report" / "lines.md").read_text()
    assert "| panet | fss1000 | 1 |" in table
    assert "too few queries" in table


def test_a_project_passes_its_own_tests_and_is_a_plugin_without_installation(tmp_path: Path) -> None:
    done = run_command("new", "dataset", "my-net", "--package", folder=tmp_path)
    assert done.stdout.splitlines() == [
        "my-net/pyproject.toml",
        "my-net/README.md",
        "my-net/src/my_net/__init__.py",
        "my-net/src/my_net/py.typed",
        "my-net/src/my_net/dataset.py",
        "my-net/tests/test_my_net.py",
    ]
    assert load_plugin(tmp_path / "my-net") == ["dataset my-net"]
    assert DATASETS.get("my-net").__name__ == "MyNet"
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "my-net",
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert "1 passed" in child.stdout


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-",
            "1net",
            "_net",
            "net-",
            "a--b",
            "My-Net",
            "ä",
            "net.py",
            "../net",
            "/net",
            "a b",
            "net\n",
            "x" * 51,
        ),
        *("class", "nul", "com1", "test-net", "net-test", "setup", "tests"),
        *("panet", "pascal", "pascal5i", "cross-domain", "html", "resnet50"),
        *("torch", "json", "fssbench"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        require_free_name(name)
    assert error_names(refusal.value, repr(name))
    done = run_command("new", "method", "--", name, folder=tmp_path)
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "meant"), [("MyNet", "my-net"), ("my net", "my-net"), ("net_", "net")])
def test_a_similar_name_is_suggested(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean {meant}"):
        require_free_name(name)


@pytest.mark.parametrize("name", ["settings", "none", "tensor", "feature-method", "exception"])
def test_a_class_hides_no_name_of_its_file(name: str) -> None:
    code = make_start("method", name).files[f"{name.replace('-', '_')}.py"]
    (cls,) = re.findall(r"^class (\w+)\(FeatureMethod\)", code, flags=re.MULTILINE)
    assert cls.endswith("Method")
    assert cls not in {"Settings", "FeatureMethod"}
    compile(code, name, "exec")


@pytest.mark.parametrize("existing", ["file", "folder", "dangling link"])
@pytest.mark.parametrize("package", [False, True])
def test_nothing_is_overwritten(existing: str, package: bool, tmp_path: Path) -> None:
    target = tmp_path / ("mine" if package else "mine.py")
    if existing == "file":
        target.write_text("mine")
    elif existing == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    done = run_command("new", "method", "mine", *["--package"] * package, folder=tmp_path)
    assert done.exit_code == 2
    assert f"error: {target.name} exists" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert existing != "file" or target.read_text() == "mine"


def test_a_folder_that_cannot_hold_files_is_named_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as refusal:
        write_start(make_start("method", "mine", package=True), tmp_path / "file")
    assert error_names(refusal.value, "file")
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize(
    "options", [("dataset", "--trainable"), ("reporter", "--wrap"), ("method", "--wrap", "--trainable")]
)
def test_options_that_a_kind_does_not_have_are_refused(options: tuple[str, ...], tmp_path: Path) -> None:
    kind, *words = options
    done = run_command("new", kind, "mine", *words, folder=tmp_path)
    assert done.exit_code == 2
    assert words[-1] in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrapped_function_keeps_the_contract(tmp_path: Path) -> None:
    assert run_command("new", "method", "colours", "--wrap", folder=tmp_path).exit_code == 0
    check = run_command("check", "colours.py", folder=tmp_path)
    assert check.exit_code == 0, check.output
