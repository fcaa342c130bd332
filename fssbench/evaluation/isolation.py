"""No plugin can change what another plugin, or the next episode, sees.

Around every call into a method the process-wide settings that move numbers are put in a known
state and restored.  Random generators are seeded from the episode alone, so that a method that
draws numbers gives the same result whatever ran before it, in whatever order.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import ImageFile
from torch.nn.modules import module as modules

from fssbench.evaluation.precision import exact_float32

_HOOKS: tuple[dict[int, Any], ...] = (
    modules._global_forward_pre_hooks,
    modules._global_forward_hooks,
)
"""Hooks that run in every module of the process."""


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run a plugin call: no gradients, float32 exact, seeded generators, global settings restored after it."""
    dtype, threads, folder = torch.get_default_dtype(), torch.get_num_threads(), os.getcwd()
    place = torch.get_default_device()
    hooks = [set(each) for each in _HOOKS]
    seed_generators(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    try:
        with torch.no_grad(), exact_float32():
            yield
    finally:
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != place:
            torch.set_default_device(None if place.type == "cpu" else place)  # None: no mode at all
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for each, kept in zip(_HOOKS, hooks, strict=True):
            for left in each.keys() - kept:
                del each[left]
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        if os.getcwd() != folder:
            os.chdir(folder)


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, of numpy, and of torch on the CPU."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed walks the stack: 0.5 ms a call


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give the caller its random state back: an evaluation inside a user's script changes nothing."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
