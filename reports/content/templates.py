"""Opens the templates.  Printed values are escaped, and an unknown name is an error."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fssbench.api import describe_count

_PACKAGE = "fssbench.reports"
_LOADER = PackageLoader(_PACKAGE)


def open_templates(**options: Any) -> Environment:
    """Open the folder of templates.  By default values are escaped for HTML.

    Args:
        options: options of `jinja2.Environment`, which take precedence.
    """
    common = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    templates = Environment(loader=_LOADER, **{**common, **options})
    templates.globals["describe_count"] = describe_count
    return templates


def read_template_file(name: str) -> str:
    """Return the text of a file that pages contain unchanged, such as a style sheet or a script."""
    return (resources.files(_PACKAGE) / "templates" / name).read_text(encoding="utf-8")
