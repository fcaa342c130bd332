"""What the tests of training share: files of a training, and a stop from outside."""

from __future__ import annotations

from fssbench.training.trainer import CHECKPOINT, CURVE

FILES = (CHECKPOINT, CURVE, "state.safetensors")


def same(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


class Stopped(Exception):
    """Ends a training from outside, with nothing stored."""


def stop_after(step):
    def watch(progress):
        if progress.step == step:
            raise Stopped

    return watch
