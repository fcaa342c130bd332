"""fssbench: one harness for cross-domain few-shot segmentation.

The public names below are loaded on first use, so that `import fssbench` (and with it
`fssbench --help`) does not pay for torch or pandas.

Example:
    >>> import fssbench
    >>> plan = fssbench.plan("pascal-to-chestxray", shot=1, data="mini")  # doctest: +SKIP
    >>> method = fssbench.load_method("panet", backbone="efficientnet-lite0")  # doctest: +SKIP
    >>> fssbench.evaluate(method, plan, out="runs").score.miou  # doctest: +SKIP
    57.3
    >>> fssbench.results("runs").means[["name", "miou", "miou_low", "miou_high", "marks"]]  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fssbench import clone, compat
from fssbench.plugins import execution

if TYPE_CHECKING:
    from fssbench.analysis.frames import results as results
    from fssbench.episodes.sampling import plan as plan
    from fssbench.evaluation.engine import evaluate as evaluate
    from fssbench.loading.load import load_method as load_method
    from fssbench.metrics import count as count, score as score

__version__ = "0.1.0"

_PUBLIC = {
    "count": "fssbench.metrics",
    "evaluate": "fssbench.evaluation.engine",
    "load_method": "fssbench.loading.load",
    "plan": "fssbench.episodes.sampling",
    "results": "fssbench.analysis.frames",
    "score": "fssbench.metrics",
}
__all__ = ["__version__", *sorted(_PUBLIC)]

__path__ += clone.enter_clone(Path(__file__).parent)
compat.install_torchvision_hook()
execution.install()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'fssbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
