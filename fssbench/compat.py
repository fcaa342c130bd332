"""What fssbench needs of torch and torchvision: the oldest torch, and an `import torchvision` that works.

The torchvision wheel on the package index is built for CUDA.  Beside a CPU build of torch its
compiled operators do not load, and importing it stops at `operator torchvision::nms does not
exist`.  Declaring the two missing schemas first is enough for all that fssbench uses (models,
transforms, datasets, utils).  Where the operators load, this module does nothing.

It is an import hook rather than a call so that `import fssbench` stays light and a later
`import torchvision`, ours or the user's, still finds the schemas declared.
"""

from __future__ import annotations

import importlib.machinery
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fssbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

TORCH = (2, 10)
"""Before 2.10 `torch.load(weights_only=True)` could be made to run code from a checkpoint."""
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[Any] = []  # a torch.library.Library forgets its schemas when it is collected


class _BeforeTorchvision:
    """Meta path finder that never finds: it only acts before the first import of torchvision."""

    acted = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name == "torchvision" and not self.acted:
            self.acted = True
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
            if spec is not None and spec.origin is not None:
                _declare(Path(spec.origin).parent)
        return None


def _declare(package: Path) -> None:
    import torch

    compiled = next((f for f in package.glob("_C*") if f.suffix in {".so", ".pyd", ".dylib"}), None)
    if compiled is not None:
        try:
            torch.ops.load_library(str(compiled))
            return
        except OSError:  # built for another torch than the one installed
            pass
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept.append(library)


def install_torchvision_hook() -> None:
    """Arm the hook once; does nothing when torchvision is imported already."""
    armed = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not armed:
        sys.meta_path.insert(0, _BeforeTorchvision())


def require_torch() -> None:
    """Refuse a torch below the floor, from its package metadata: torch itself is not imported.

    Raises:
        UsageError: if torch is missing or too old.
    """
    wanted = ".".join(map(str, TORCH))
    try:
        installed = metadata.version("torch")
    except metadata.PackageNotFoundError:
        raise UsageError(
            f'torch is not installed; fssbench needs {wanted} or newer. Next: pip install "torch>={wanted}"'
        ) from None
    numbers = tuple(int(part) for part in re.findall(r"\d+", installed)[:2])
    if numbers < TORCH:
        raise UsageError(
            f"torch {installed} is too old: below {wanted} a checkpoint can run code while it is loaded. "
            f'Next: pip install -U "torch>={wanted}"'
        )
