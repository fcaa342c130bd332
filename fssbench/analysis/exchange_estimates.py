"""Estimates of the differences of an exchange test, with bounds of their errors.

Let I and U be half of the sums of both methods' intersections and unions of a class, and let i and u be half of the
sums of A minus those of B, with the signs of the draw.  Then A minus B of that draw is
(I + i) / (U + u) - (I - i) / (U - u) = 2 (i - u I / U) / U / (1 - (u / U)**2), summed over classes.

Estimates have two steps.  The last factor is close to 1, and without it the difference is a weighted sum: all couples
and draws are one matrix product.  It decides nearly all draws if classes have many queries.  Draws that it leaves open
are computed with the factor, in the same precision; what then is too close for that precision is left to the test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Rows = NDArray[np.int64]
_Floats = NDArray[np.float64]
ROUNDING = 1e-9
"""Differences that are closer than this, in points, count as equal."""
_OTHER_ROUNDINGS = 64
"""Roundings of an estimate besides those of its sum: weights, factors, bounds."""
_WIDEST = 0.9
"""Largest share u / U of an exchange for which an estimate is used."""
_TOGETHER = 1 << 15
"""Numbers of one kind that are computed at once with the factor, so that they stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Estimates of every couple's difference, and what bounds their errors.

    The difference of a class, without the last factor, is x points, and the factor differs from 1 by w**2 / (1 - w**2),
    where w = |u| / U.  The sum of |x| w**2 over classes is at most |x| |w|**2, where |x| is the square norm and |w| the
    norm to the fourth power, by Cauchy's inequality.  Those of a couple are at most the sum of both methods' norms, as
    each method is compared with the mean method.  So a bound takes a few operations per couple instead of per class.
    """

    a: _Rows
    b: _Rows
    by_place: NDArray[Any]
    """(methods, places, 2 x classes) what a sum of a method adds to the differences of its couples in points, or takes
    away if it is B: those of the intersections and of the unions of the first class, then of the next.  Each couple of
    a method has a place; places that are left are 0."""
    places: tuple[_Rows, _Rows]
    """(couples) place of each couple among those of A, and among those of B, counted through all methods."""
    weights: NDArray[Any]
    """(classes, 2, couples) the same by couple."""
    widths: NDArray[Any]
    """(classes, couples) by which A's sum of unions minus B's gives u / U."""
    rounding: _Floats
    """(couples) what the rounding of the estimate adds to its error, in points."""
    scales: NDArray[Any]
    """(classes, 3) by which a method's |sum of unions| gives its w, its |sum of intersections| its x, and w its x."""

    @classmethod
    def make(cls, points: _Floats, both: _Floats, spans: _Floats, a: _Rows, b: _Rows, kind: Any) -> Estimates:
        """Make it for couples of the methods a and b.

        Args:
            points: (classes) points of an IoU of 1 in the mean.
            both: (classes, 2, couples) sums of A plus those of B.
            spans: (classes, 2, methods) largest absolute value that a sum can have, with any signs.
            a: (couples) row of A.
            b: (couples) row of B.
            kind: number type of the sums.
        """
        points = points[:, None]
        methods = spans.shape[2]
        halves = both / 2
        unions = np.maximum(halves[:, 1], 0.5)  # without a pixel all counts are 0
        ious = halves[:, 0] / unions
        weights = np.stack([points / unions, -ious * points / unions], axis=1)
        reach = (np.abs(weights) * (spans[:, :, a] + spans[:, :, b])).sum(axis=(0, 1))
        unit = float(np.finfo(kind).eps) / 2 * 1.01
        smallest = np.min(halves[:, 1], axis=1, initial=math.inf, where=halves[:, 1] > 0)
        highest = ious.max(axis=1, initial=0) + 1e-6
        scales = np.stack([0.5 / smallest, points[:, 0] / smallest, 2 * highest * points[:, 0]], axis=1)
        held, places = _place_couples(a, b)
        by_place = np.zeros((methods * held, 2 * len(points)), dtype=kind)
        for place in places:
            by_place[place] = weights.reshape(-1, len(a)).T
        return cls(
            a,
            b,
            by_place.reshape(methods, held, 2 * len(points)),
            places,
            weights.astype(kind),
            (0.5 / unions).astype(kind),
            (2 * len(points) + _OTHER_ROUNDINGS) * unit * reach + ROUNDING / 10,
            scales.astype(kind),
        )

    def decide(self, sums: NDArray[Any], limits: _Floats) -> tuple[NDArray[np.int64], _Rows, _Rows]:
        """Count the draws that surely reach a limit, and list those that are too close to decide.

        Args:
            sums: (classes, 2, methods, draws) sums with the signs of some draws.
            limits: (couples) absolute differences to reach, in points.

        Returns:
            The (couples) counts, and couple and draw of each undecided one.
        """
        norms = self._compute_norms(sums)
        size, width = (norm.max(axis=1).astype(np.float64) for norm in norms)
        rounding = self.rounding + np.abs(limits) * np.finfo(np.float32).eps
        errors = _bound_errors(size[self.a] + size[self.b], width[self.a] + width[self.b], rounding)
        gaps = self._estimate(sums)
        above = gaps > (limits + errors)[:, None].astype(sums.dtype)
        reached = np.count_nonzero(above, axis=1)
        unsure = gaps >= (limits - errors)[:, None].astype(sums.dtype)
        unsure ^= above
        couple, draw = np.divmod(np.flatnonzero(unsure), gaps.shape[1])
        # the bound of the draw itself is narrower than that of all draws
        size, width = (
            norm[self.a[couple], draw].astype(np.float64) + norm[self.b[couple], draw] for norm in norms
        )
        narrow = _bound_errors(size, width, rounding[couple])
        near = gaps[couple, draw] - limits[couple]
        reached += np.bincount(couple[near > narrow], minlength=len(limits))
        still = np.abs(near) <= narrow
        couple, draw = couple[still], draw[still]
        closer, smallest = self._compute_with_factor(sums, couple, draw)
        narrow = _bound_rounding(smallest, rounding[couple])
        near = closer - limits[couple]
        reached += np.bincount(couple[near > narrow], minlength=len(limits))
        still = ~(np.abs(near) > narrow)  # also where there is no number
        return reached, couple[still], draw[still]

    def _estimate(self, sums: NDArray[Any]) -> NDArray[Any]:
        """Estimate the (couples, draws) absolute differences in points, without the last factor."""
        by_method = sums.reshape(2 * len(sums), *sums.shape[2:]).transpose(1, 0, 2)
        parts = (self.by_place @ by_method).reshape(-1, sums.shape[3])
        of_a, of_b = (parts.take(place, axis=0) for place in self.places)
        of_a -= of_b
        return np.abs(of_a, out=of_a)

    def _compute_norms(self, sums: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bound the norms of x, and compute those of w, over the classes: (methods, draws) each."""
        inter, union = sums.reshape(len(sums), 2, math.prod(sums.shape[2:])).transpose(1, 0, 2)
        to_width, to_size, width_to_size = self.scales.T
        powers = union * to_width[:, None]
        powers *= powers
        size = np.sqrt(width_to_size**2 @ powers)
        size += np.sqrt(to_size**2 @ np.square(inter))
        powers *= powers
        width = np.sqrt(np.sqrt(powers.sum(axis=0)))
        return size.reshape(sums.shape[2:]), width.reshape(sums.shape[2:])

    def _compute_with_factor(self, sums: NDArray[Any], couple: _Rows, draw: _Rows) -> tuple[_Floats, _Floats]:
        """Compute the absolute differences of some draws in points, with the last factor.

        Args:
            sums: (classes, 2, methods, draws) sums with the signs of the draws.
            couple: (n) couple of each difference.
            draw: (n) draw of each.

        Returns:
            The (n) differences, and the smallest value of 1 - w**2 of each over the classes.
        """
        gaps, smallest = np.empty((2, len(couple)))
        flat = sums.reshape(*sums.shape[:2], math.prod(sums.shape[2:]))
        most = max(1, _TOGETHER // max(1, len(sums)))
        for first in range(0, len(couple), most):
            part = slice(first, first + most)
            own, at = couple[part], draw[part]
            kept = flat.take(self.a[own] * sums.shape[3] + at, axis=2)
            kept -= flat.take(self.b[own] * sums.shape[3] + at, axis=2)
            weights, widths = self.weights.take(own, axis=2), self.widths.take(own, axis=1)
            gaps[part], smallest[part] = _apply_factor(kept, weights, widths)
        return gaps, smallest


def _apply_factor(
    kept: NDArray[Any], weights: NDArray[Any], widths: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute (n) absolute differences in points and the smallest 1 - w**2 of each; the first array is overwritten.

    Args:
        kept: (classes, 2, n) sums of A minus those of B.
        weights: (classes, 2, n) points of each, without the last factor.
        widths: (classes, n) by which those of unions give u / U.
    """
    inter, union = kept[:, 0], kept[:, 1]
    inter *= weights[:, 0]
    inter += union * weights[:, 1]
    union *= widths
    union *= union
    factor = np.subtract(1, union, out=union)
    with np.errstate(all="ignore"):
        inter /= factor
        return np.abs(inter.sum(axis=0)), factor.min(axis=0, initial=1)


def _place_couples(a: _Rows, b: _Rows) -> tuple[int, tuple[_Rows, _Rows]]:
    """Give each couple of the methods a and b a place among the couples of either.

    Returns:
        Most couples of a method, and the places of each couple, counted through all methods.
    """
    methods = np.concatenate([a, b])
    order = np.argsort(methods, kind="stable")
    ordered = methods[order]
    place = np.empty(len(methods), dtype=np.int64)
    place[order] = np.arange(len(methods)) - np.searchsorted(ordered, ordered)
    held = int(place.max(initial=-1)) + 1
    place += methods * held
    return held, (place[: len(a)], place[len(a) :])


def _bound_errors(sizes: _Floats, widths: _Floats, rounding: _Floats) -> _Floats:
    """Bound the error of estimates, in points, from the norms of x and of w; infinite if there is no bound."""
    squares = widths**2
    with np.errstate(all="ignore"):
        errors = sizes * squares / (1 - squares) * 1.001
    errors[~((squares < _WIDEST**2) & np.isfinite(errors))] = math.inf
    return np.asarray(errors + rounding)


def _bound_rounding(smallest: _Floats, rounding: _Floats) -> _Floats:
    """Bound the error of differences with the last factor, in points, from the smallest 1 - w**2 over the classes.

    The factor multiplies a rounding by at most 1 / (1 - w**2), and w, its square and 1 - w**2 add at most 35 roundings
    of a class while w is at most `_WIDEST`; a difference of sums, its weights and the division add 6.
    """
    with np.errstate(all="ignore"):
        return np.where(smallest > 1 - _WIDEST**2, rounding / smallest, math.inf)
