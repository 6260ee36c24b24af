"""A tiled stage: one opaque task a tile, recorded in a ledger, resumable, shared by parts.

Upstream: `executor`, `ledger`. Downstream: the stages of a run.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.core.errors import Fault, InputError, bad_input, listed
from pipeline.core.files import UnwritableError
from pipeline.execution.executor import HERE, Executor, Outcome, Stage, T, Work
from pipeline.execution.ledger import Ledger
from pipeline.execution.progress import stage_bar

GIVE_UP_AFTER = 20
"""Failures without a single success after which the rest is not tried."""


class StageError(InputError):
    """Some items of a stage failed; the others are finished and stay so."""


@dataclass(frozen=True)
class StageReport:
    """What a stage did: seconds, peak bytes of its largest process, what became of the items."""

    seconds: float
    peak_memory: int
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


def part_of(items: Sequence[T], part: tuple[int, int]) -> list[T]:
    """The items of part i of n (from 1): every n-th, so that parts cost alike."""
    i, n = part
    if not 1 <= i <= n:
        raise bad_input("--part", f"{i}/{n}", "i/n with 1 <= i <= n, such as 3/16")
    return list(items[i - 1 :: n])


def run_stage(
    name: str,
    items: Sequence[T],
    work: Work,
    ledger: Ledger,
    executor: Executor = HERE,
    *,
    retries: int = 2,
    progress: bool = True,
    part: tuple[int, int] = (1, 1),
    strict: bool = True,
) -> StageReport:
    """Do `work(item)` for every item (of this `part`) that the ledger does not hold as done.

    `work` writes its result itself and returns a small summary for the ledger; it is a function, or
    a `Task` whose parts an `Overlapped` executor runs at once. On a cluster it must be picklable: a
    function of a module, or a `functools.partial` of one. A failed item is tried `retries` times
    more, unless its input is bad; the others go on. Raises `StageError` with all failures at the
    end, or reports them where not `strict`; `UnwritableError` at once where the output cannot be
    written. Ctrl-C and SIGTERM lose only what is at work.
    """
    began = time.monotonic()
    ledger.open()
    finished = ledger.names_done()
    mine = part_of(items, part)
    todo = [item for item in mine if item.name not in finished]
    skipped = tuple(item.name for item in mine if item.name in finished)
    book = _Book(name, ledger)
    with (
        ending_on_sigterm(),
        closing(executor.outcomes(Stage(name, work, ledger, retries), todo)) as outcomes,
        stage_bar(name, len(mine), len(skipped), progress) as advance,
    ):
        for item, outcome in outcomes:
            book.record(item.name, outcome)
            advance(len(book.failed))
            if book.is_hopeless:
                break
    if book.unwritable or (strict and book.failed):
        raise book.error()
    peak = executor.peak_memory() if book.done else 0
    seconds = time.monotonic() - began
    return StageReport(seconds, peak, tuple(book.done), skipped, dict(book.failed))


class _Book:
    """What became of the items of a stage so far."""

    def __init__(self, stage: str, ledger: Ledger) -> None:
        self.stage = stage
        self.ledger = ledger
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.causes: dict[tuple[str, ...], tuple[Fault, list[str]]] = {}
        """The first fault of each cause, and the items that have it."""
        self.unwritable: tuple[Fault, ...] = ()

    def record(self, name: str, outcome: Outcome) -> None:
        """Note an item's last outcome, in the ledger too where it failed."""
        if not outcome.error:
            self.done.append(name)
            return
        self.failed[name] = outcome.error
        if outcome.is_hopeless:
            self.unwritable = outcome.faults
            return
        self.ledger.failed(name, outcome.error, outcome.trace)
        self._note_causes(name, outcome)

    def _note_causes(self, name: str, outcome: Outcome) -> None:
        """Count the item where others failed alike: the same place and demand, or the same error.

        Values found differ from tile to tile even where one setting is wrong for all.
        """
        faults = outcome.faults or (self._fault(name, outcome),)
        alike: Counter[tuple[str, ...]] = Counter()
        for fault in faults:
            key = (fault.where, fault.expected, fault.hint) if outcome.faults else (outcome.error,)
            alike[key] += 1
            cause = (*key, str(alike[key]))
            self.causes.setdefault(cause, (fault, []))[1].append(name)

    def _fault(self, name: str, outcome: Outcome) -> Fault:
        record = self.ledger.path / f"{name}.failed.json"
        hint = f"The traceback is in {record}; run again to retry."
        return Fault(f"stage {self.stage}, {name}", outcome.error, "the tile to be done", hint)

    @property
    def is_hopeless(self) -> bool:
        """Whether the rest would fail as well."""
        return bool(self.unwritable) or (len(self.failed) >= GIVE_UP_AFTER and not self.done)

    def error(self) -> InputError:
        """All failures in one error, each cause once."""
        if self.unwritable:
            return UnwritableError(self.unwritable)
        return StageError(_of_all(fault, names) for fault, names in self.causes.values())


def _of_all(fault: Fault, names: Sequence[str]) -> Fault:
    """A cause's first fault, with how many items have it and which."""
    if len(names) == 1:
        return fault
    count, which = listed(names).split(" ", 1)
    return replace(fault, found=f"{fault.found}; {count} tiles failed so {which}")


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM (SLURM's warning, a container's stop) end the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
