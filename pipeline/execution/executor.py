"""The work of a stage, and how it is run: one item after another in this process.

Downstream: `overlap` and `dask` run the same work otherwise; `run.run_stage` takes any executor. An
item reads, computes, writes and marks by itself, so what comes back from it is small.
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
    """Whatever a stage is cut into; `name` is unique in the stage and fit for a file name."""

    @property
    def name(self) -> str:
        """The item's name in the ledger."""


T = TypeVar("T", bound=Item)

Work = Callable[[Any], Mapping[str, Any] | None]
"""What is done for an item: it writes its result itself and returns a summary for the ledger."""


@dataclass(frozen=True)
class Task:
    """Work in three parts: what an item reads, what is computed of it, what is written.

    `compute` takes pairs (item, what was read) and yields pairs (item, result) in the same order,
    whenever it likes: it may put several items together. An executor that knows no parts calls the
    task as a function of one item.

    >>> square = Task(int, lambda pairs: ((i, n * n) for i, n in pairs), lambda i, n: {"is": n})
    >>> square("7")
    {'is': 49}
    """

    read: Callable[[Any], Any]
    compute: Callable[[Iterator[tuple[Any, Any]]], Iterator[tuple[Any, Any]]]
    write: Callable[[Any, Any], Mapping[str, Any]]

    def __call__(self, item: Any) -> Mapping[str, Any]:
        """One item by itself."""
        ((_, result),) = self.compute(iter([(item, self.read(item))]))
        return self.write(item, result)


@dataclass(frozen=True)
class Outcome:
    """What became of an item; `error` and `faults` are empty where it went well."""

    error: str = ""
    trace: str = ""
    faults: tuple[Fault, ...] = ()
    is_hopeless: bool = False
    """No other item could succeed either."""

    @property
    def is_worth_retrying(self) -> bool:
        """Whether another try may go better: bad input stays bad."""
        return bool(self.error) and not self.faults


@dataclass(frozen=True)
class Stage:
    """A stage's name, work, ledger and retries: all that an executor needs but the items."""

    name: str
    work: Work
    ledger: Ledger
    retries: int

    def attempt(self, item: Item) -> Outcome:
        """One try of one item, marked in the ledger by the process that wrote its result."""
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
    """How the items of a stage are run: `Here`, `Overlapped` or `OnCluster`."""

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item with its last outcome, in the order in which they end."""

    def peak_memory(self) -> int:
        """Largest resident memory that a process of this executor has had, in bytes."""


@dataclass(frozen=True)
class Here:
    """One item after another in this process."""

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
