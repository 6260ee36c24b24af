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
from pipeline.execution.ledger import Ledger

MAX_SUMMARY_BYTES = 100_000


class Item(Protocol):
    """Unit of work of a stage; `name` is unique in the stage and valid as a file name."""

    @property
    def name(self) -> str:
        """The item's name in the ledger."""


T = TypeVar("T", bound=Item)

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

    @property
    def is_worth_retrying(self) -> bool:
        """Whether another attempt may succeed; bad input remains bad."""
        return bool(self.error) and not self.faults


@dataclass(frozen=True)
class Stage:
    """Name, work, ledger and number of retries of a stage."""

    name: str
    work: Work
    ledger: Ledger
    retries: int

    def attempt(self, item: Item) -> Outcome:
        """Attempt one item, and mark it in the ledger if it succeeds."""
        try:
            if not self.ledger.done(item.name):
                summary = dict(self.work(item) or {})
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
            return Outcome(f"{type(error).__name__}: {error}", traceback.format_exc())


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
