"""The end of a run by signal: noticed between two steps, agreed among ranks, state saved before.

SIGTERM comes from schedulers and `kill`, SIGUSR1 from SLURM before the time limit. Downstream:
loop.py.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from stefaland.distributed import sum_over_ranks, world_size

SIGNAL_EVERY = 16
"""Steps between two looks at the signals of other ranks."""


class Interrupted(SystemExit):
    """A signal stopped the run; its state is saved and the next run goes on from there."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Stop:
    """Whether a signal asked for the end, agreed among ranks."""

    number = 0

    def requested(self, step: int) -> bool:
        """True when any rank got a signal; ranks look together, every few steps."""
        if world_size() == 1:
            return self.number != 0
        if step % SIGNAL_EVERY:
            return False
        asked = sum_over_ranks({"number": float(self.number)}, _signal_device())["number"]
        self.number = self.number or (int(signal.SIGTERM) if asked else 0)
        return asked > 0


def _signal_device() -> torch.device:
    backend = torch.distributed.get_backend()
    return (
        torch.device("cuda", torch.cuda.current_device())
        if backend == "nccl"
        else torch.device("cpu")
    )


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch SIGTERM and SIGUSR1 while training; other threads than the main one cannot."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def remember(number: int, frame: FrameType | None) -> None:
        stop.number = number

    before = {s: signal.signal(s, remember) for s in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
