"""Signals that end a run between two steps, on all ranks, after its state has been saved.

SIGTERM is sent by schedulers and `kill`, SIGUSR1 by SLURM before the time limit.
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
"""Number of steps between two checks of the signals of other ranks."""


class Interrupted(SystemExit):
    """A signal stopped the run; its state is saved, and the next run resumes from it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Stop:
    """A request to stop by signal, shared among ranks."""

    number = 0

    def requested(self, step: int) -> bool:
        """Whether any rank got a signal; ranks check it together every `SIGNAL_EVERY` steps."""
        if world_size() == 1:
            return self.number != 0
        if step % SIGNAL_EVERY:
            return False
        total = sum_over_ranks({"number": float(self.number)}, _signal_device())["number"]
        self.number = self.number or (int(signal.SIGTERM) if total else 0)
        return total > 0


def _signal_device() -> torch.device:
    backend = torch.distributed.get_backend()
    return (
        torch.device("cuda", torch.cuda.current_device())
        if backend == "nccl"
        else torch.device("cpu")
    )


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Catch SIGTERM and SIGUSR1 within the block; in other threads than the main one, none."""
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
