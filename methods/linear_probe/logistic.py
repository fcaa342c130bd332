"""Logistic regression of one output, with soft targets and a penalty."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Start = Literal["zero", "means"]
_SMALLEST_GRADIENT = 1e-5
_SURE = 4.0
"""Size of the output if all examples are of one class."""


class Plane(NamedTuple):
    """A linear function of values."""

    weights: Vector
    """(D,)"""
    bias: float

    def evaluate(self, values: Vector) -> Vector:
        """Compute the function (N,) of values (N, D).  It is positive on the side of the object."""
        return values @ self.weights + self.bias


def fit_plane(
    values: Vector, objects: Vector, *, penalty: float, balance: bool, start: Start, iterations: int
) -> Plane:
    """Fit a plane to examples by L-BFGS.

    The objective is the weighted mean of the logistic loss, plus half of the penalty times the squared length of the
    weights.  The bias is not penalised.  The objective is convex, so neither a seed nor the order of the examples
    matters.

    Args:
        values: (N, D).
        objects: share of the object in each example (N,), from 0 to 1.
        penalty: factor of the squared length.
        balance: whether object and background have the same total weight.
        start: `zero`, or the plane that lies in the middle between the class means, at a right angle to their line.
        iterations: largest number of iterations.

    Returns:
        The plane.  If all examples are of one class, it is a constant of 4 or -4.
    """
    from scipy.optimize import minimize  # takes a quarter of a second

    inside, outside = objects, 1 - objects
    width = values.shape[1]
    if not inside.any() or not outside.any():
        return Plane(np.zeros(width), _SURE if inside.any() else -_SURE)
    inside_share, outside_share = (
        each / (2 * each.sum() if balance else len(objects)) for each in (inside, outside)
    )

    def compute_objective(parameters: Vector) -> tuple[float, Vector]:
        weights = parameters[:-1]
        outputs = values @ weights + parameters[-1]
        loss = inside_share @ np.logaddexp(0, -outputs) + outside_share @ np.logaddexp(0, outputs)
        slopes = outside_share - (inside_share + outside_share) * _sigmoid(-outputs)
        gradient = np.append(values.T @ slopes + penalty * weights, slopes.sum())
        return float(loss + penalty / 2 * weights @ weights), gradient

    first = np.zeros(width + 1) if start == "zero" else _separate_means(values, inside, outside)
    largest = _SMALLEST_GRADIENT / np.sqrt(width + 1)  # bounds each entry, and so the length
    options = {"maxiter": iterations, "gtol": largest, "ftol": 0.0, "maxfun": 20 * iterations + 1}
    parameters = (
        minimize(compute_objective, first, jac=True, method="L-BFGS-B", options=options).x
        if iterations
        else first
    )
    return Plane(parameters[:-1], float(parameters[-1]))


def _separate_means(values: Vector, inside: Vector, outside: Vector) -> Vector:
    """Compute the weights and the bias (D + 1,) of the plane half way between the class means."""
    near, far = (shares @ values / shares.sum() for shares in (inside, outside))
    return np.append(near - far, (far @ far - near @ near) / 2)


def _sigmoid(outputs: Vector) -> Vector:
    return np.exp(-np.logaddexp(0, -outputs))
