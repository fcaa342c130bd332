"""Verifies many runs: what `fssbench verify` does, called from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fssbench.contracts.arguments import Natural, Share, check_arguments
from fssbench.errors import DataError
from fssbench.plugins.registry import load_plugins
from fssbench.runs.store import find_run_folders
from fssbench.verification.seals import Finding
from fssbench.verification.stored_run import VerificationInputs, verify_run


@check_arguments
def verify(
    runs: str | Path | Sequence[str | Path] = "runs",
    *,
    data: str | Path | None = None,
    splits: str | Path | None = None,
    files: Sequence[str | Path] = (),
    share: Share = 0.1,
    episodes: Natural | None = None,
    plugins: str | Path | Sequence[str | Path] = (),
) -> dict[Path, list[Finding]]:
    """Check stored runs against themselves and, with `data`, against the data and the method.

    Args:
        runs: run folders, or folders of them.
        data: folder of all data sets, or `mini`; without it nothing is computed again.
        splits: folder of reference list files.
        files: checkpoints and backbone weights; the one that belongs to a run is found by its hash.
        share: share of each run's episodes to compute again.
        episodes: number of episodes to compute again, instead of `share`.
        plugins: plugin files, folders or modules to load first.

    Returns:
        The findings of each run, by its folder.  `finding.outcome` is `equal`, `differs` or `not checked`.

    Raises:
        DataError: if there are no runs.

    Example:
        >>> import fssbench
        >>> _ = fssbench.run("panet", "pascal-to-chestxray", data="mini", shot=1, episodes=2, size=96, out="runs")
        >>> {str(f.outcome) for findings in fssbench.verify("runs", data="mini").values() for f in findings}
        {'equal'}
    """
    load_plugins(plugins)
    paths = [Path(path) for path in ([runs] if isinstance(runs, str | Path) else runs)]
    folders = [path for folder in paths for path in find_run_folders(folder)]
    if not folders:
        raise DataError(f"there are no runs in {', '.join(map(str, paths))}. Next: `fssbench list runs`")
    inputs = VerificationInputs(data, splits, tuple(map(Path, files)), share, episodes)
    return {folder: verify_run(folder, inputs) for folder in folders}
