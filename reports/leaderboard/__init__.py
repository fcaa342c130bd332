"""A static site from many runs: a board of all figures, one page a method, one a benchmark."""

from .site import LeaderboardReporter

__all__ = ["LeaderboardReporter"]
