"""Running a tiled stage: one item per tile, recorded in a ledger, resumable, and split in parts."""

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
"""Number of failures without a success after which the other items are not attempted."""


class StageError(InputError):
    """Failure of some items of a stage; the others are finished and marked."""


@dataclass(frozen=True)
class StageReport:
    """Report of a stage: seconds, peak bytes of its largest process, and items by outcome."""

    seconds: float
    peak_memory: int
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)


def part_of(items: Sequence[T], part: tuple[int, int]) -> list[T]:
    """The items of part i of n (from 1): every n-th, so that parts take similar time.

    `InputError` unless 1 <= i <= n.
    """
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
    task_seconds: float | None = None,
) -> StageReport:
    """Call `work(item)` for every item (of this `part`) that the ledger does not list as done.

    `work` writes its result itself and returns a small summary for the ledger; it is a function, or
    a `Task` whose parts an `Overlapped` executor runs concurrently. On a cluster it must be
    picklable: a function of a module, or a `functools.partial` of one. A failed item is attempted
    `retries` times more, unless its input is bad; the others continue. Raises `StageError` with all
    failures at the end, or reports them where not `strict`; `UnwritableError` at once where the
    output cannot be written. An item that takes longer than `task_seconds` is given up, with the
    file that it was reading in the error. Ctrl-C and SIGTERM lose only the items being processed.
    """
    began = time.monotonic()
    ledger.open()
    finished = ledger.names_done()
    chosen = part_of(items, part)
    todo = [item for item in chosen if item.name not in finished]
    skipped = tuple(item.name for item in chosen if item.name in finished)
    record = _Record(name, ledger)
    with (
        ending_on_sigterm(),
        closing(
            executor.outcomes(Stage(name, work, ledger, retries, task_seconds), todo)
        ) as outcomes,
        stage_bar(name, len(chosen), len(skipped), progress) as advance,
    ):
        for item, outcome in outcomes:
            record.add(item.name, outcome)
            advance(len(record.failed))
            if record.is_hopeless:
                break
    if record.unwritable or (strict and record.failed):
        raise record.error()
    peak = executor.peak_memory() if record.done else 0
    seconds = time.monotonic() - began
    return StageReport(seconds, peak, tuple(record.done), skipped, dict(record.failed))


class _Record:
    """Outcomes of the items of a stage so far."""

    def __init__(self, stage: str, ledger: Ledger) -> None:
        self.stage = stage
        self.ledger = ledger
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.causes: dict[tuple[str, ...], tuple[Fault, list[str]]] = {}
        """The first fault of each cause, and the items that have it."""
        self.unwritable: tuple[Fault, ...] = ()

    def add(self, name: str, outcome: Outcome) -> None:
        """Record an item's last outcome, also in the ledger where it failed."""
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
        """Add the item to its causes: equal location, expectation and hint, or an equal error.

        The values found are not compared: they differ from tile to tile even where one setting is
        wrong for all.
        """
        faults = outcome.faults or (self._fault(name, outcome),)
        alike: Counter[tuple[str, ...]] = Counter()
        for fault in faults:
            key = (fault.where, fault.expected, fault.hint) if outcome.faults else (outcome.error,)
            alike[key] += 1
            cause = (*key, str(alike[key]))
            self.causes.setdefault(cause, (fault, []))[1].append(name)

    def _fault(self, name: str, outcome: Outcome) -> Fault:
        file = self.ledger.path / f"{name}.failed.json"
        hint = f"The traceback is in {file}; run again to retry."
        return Fault(f"stage {self.stage}, {name}", outcome.error, "a finished tile", hint)

    @property
    def is_hopeless(self) -> bool:
        """Whether the other items would fail as well."""
        return bool(self.unwritable) or (len(self.failed) >= GIVE_UP_AFTER and not self.done)

    def error(self) -> InputError:
        """All failures in one error, each cause once."""
        if self.unwritable:
            return UnwritableError(self.unwritable)
        return StageError(_with_count(fault, names) for fault, names in self.causes.values())


def _with_count(fault: Fault, names: Sequence[str]) -> Fault:
    """The first fault of a cause, with the number and names of the items that have it."""
    if len(names) == 1:
        return fault
    count, which = listed(names).split(" ", 1)
    return replace(fault, found=f"{fault.found}; {count} tiles failed so {which}")


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Make SIGTERM (SLURM's warning, a container's stop) raise `KeyboardInterrupt`, like Ctrl-C."""
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
