"""Writes plugin files for tests."""

from __future__ import annotations

from pathlib import Path

METHOD = """
import torch
from fssbench.api import ImageMethod, MethodCard, MethodConfig
{top}
class Settings(MethodConfig):
    table: str = ""
class Mine(ImageMethod):
    card = MethodCard(name="{name}", title="x", paper="x", year=2026, kind="other", backbone="none", size=64,
                      trained=False, reference="x", licence="x")
    Config = Settings
    {attributes}
    def __init__(self, config, backbone=None):
        super().__init__(config, backbone)
        {init}
    def logits(self, query, support, support_mask):
        {body}
        value = support_mask.mean(1) - 0.5
        return torch.stack([-value, value], 1)
"""


def write_method(
    path: Path,
    *,
    name: str = "mine",
    top: str = "",
    attributes: str = "",
    init: str = "pass",
    body: str = "pass",
) -> Path:
    """Write a plugin file with one method; its parts are given as source text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(METHOD.format(name=name, top=top, attributes=attributes, init=init, body=body))
    return path
