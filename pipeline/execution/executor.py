"""The work of a stage, and the executor that runs it item by item in this process.

`overlap` and `dask` have the other executors. Each item reads its input and writes its result
itself, so that an executor passes no arrays.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.core.errors import Fault, InputError
from pipeline.core.files import UnwritableError
from pipeline.core.system.failures import is_out_of_memory, out_of_memory
from pipeline.core.system.time_limit import in_time
from pipeline.execution.ledger import Ledger

MAX_SUMMARY_BYTES = 100_000
LESS_MEMORY = (
    "Use fewer workers (cluster.workers) or more memory for each (cluster.memory_per_worker), "
    "smaller batches of a prediction (predict.batch_size), fewer steps a shard "
    "(cubes.NAME.time_shard), or smaller tiles (cubes.NAME.tile)."
)
"""Hint for a tile that does not fit into memory."""


class Item(Protocol):
    """Unit of work of a stage; `name` is unique in the stage and valid as a file name."""

    @property
    def name(self) -> str:
        """The item's name in the ledger."""


T = TypeVar("T", bound=Item)
R = TypeVar("R")

Work = Callable[[Any], Mapping[str, Any] | None]
"""Function of one item that writes its result itself and returns a summary for the ledger."""


@dataclass(frozen=True)
class Task:
    """Work in three parts: reading of an item's input, computation, and writing of its result.

    `compute` takes pairs (item, input) and yields pairs (item, result) in the same order; it may
    take several pairs before it yields, to process them together. `Here` calls the task as a
    function of one item.

    >>> square = Task(int, lambda pairs: ((i, n * n) for i, n in pairs), lambda i, n: {"is": n})
    >>> square("7")
    {'is': 49}
    """

    read: Callable[[Any], Any]
    compute: Callable[[Iterator[tuple[Any, Any]]], Iterator[tuple[Any, Any]]]
    write: Callable[[Any, Any], Mapping[str, Any]]

    def __call__(self, item: Any) -> Mapping[str, Any]:
        """Read, compute and write one item."""
        ((_, result),) = self.compute(iter([(item, self.read(item))]))
        return self.write(item, result)


@dataclass(frozen=True)
class Outcome:
    """Outcome of an item; `error` and `faults` are empty where it succeeded."""

    error: str = ""
    trace: str = ""
    faults: tuple[Fault, ...] = ()
    is_hopeless: bool = False
    """Whether no other item can succeed either."""
    may_pass: bool = False
    """Whether another attempt may succeed although there are faults."""

    @property
    def is_worth_retrying(self) -> bool:
        """Whether another attempt may succeed; bad input remains bad."""
        return bool(self.error) and (self.may_pass or not self.faults)


@dataclass(frozen=True)
class Stage:
    """Name, work, ledger and number of retries of a stage."""

    name: str
    work: Work
    ledger: Ledger
    retries: int
    task_seconds: float | None = None
    """Longest time of an item, or of one part of it where these overlap; None without a limit."""

    def in_time(self, item: Item, call: Callable[[], R]) -> R:
        """Return the result of a call for an item; `TimeLimitError` if it takes too long."""
        where = f"stage {self.name}, {item.name}"
        return in_time(call, self.task_seconds, where, "cluster.task_seconds")

    def attempt(self, item: Item) -> Outcome:
        """Attempt one item, and mark it in the ledger if it succeeds."""
        try:
            if not self.ledger.done(item.name):
                found = self.in_time(item, lambda: self.work(item))
                summary = dict(found or {})
                if len(json.dumps(summary, default=str)) > MAX_SUMMARY_BYTES:
                    raise ValueError(f"the summary of {item.name} is too large for the ledger")
                self.ledger.mark(item.name, summary)
            return Outcome()
        except InputError as error:
            text = str(error) or type(error).__name__
            faults = error.faults or (Fault("input", text, "good input"),)
            hopeless = isinstance(error, UnwritableError)
            return Outcome(text, traceback.format_exc(), tuple(faults), hopeless)
        except Exception as error:
            return failure(self.name, item.name, error)


def failure(stage: str, item: str, error: BaseException) -> Outcome:
    """The outcome of an item that failed; a lack of memory is one fault with the settings."""
    text = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    if not is_out_of_memory(error):
        return Outcome(text, trace)
    fault = out_of_memory(f"stage {stage}, {item}", error, LESS_MEMORY)
    return Outcome(text, trace, (fault,), may_pass=True)


Outcomes = Generator[tuple[T, Outcome], None, None]


class Executor(Protocol):
    """Interface of the ways to run the items of a stage: `Here`, `Overlapped`, `OnCluster`."""

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item with its last outcome, in the order in which they finish."""

    def peak_memory(self) -> int:
        """Largest resident memory that a process of this executor has had, in bytes."""


@dataclass(frozen=True)
class Here:
    """Runs one item after another in this process."""

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item and its outcome, in the order of the items."""
        for item in items:
            outcome = stage.attempt(item)
            for _ in range(stage.retries):
                if not outcome.is_worth_retrying:
                    break
                outcome = stage.attempt(item)
            yield item, outcome

    def peak_memory(self) -> int:
        """Largest resident memory that this process has had, in bytes."""
        return peak_memory()


HERE = Here()


def peak_memory() -> int:
    """Largest resident memory that this process has had, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
