"""A static site from many runs: a board of all figures, one page per method, one page per benchmark."""

from .site import LeaderboardReporter

__all__ = ["LeaderboardReporter"]
