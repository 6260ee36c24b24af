"""The items of a stage done one after another here, or on a cluster's workers; as outcomes.

Downstream: `run.run_stage`. An item's task reads, computes, writes and marks by itself; what comes
back is small. The scheduler holds a bounded number of tasks, however many items there are.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.core.errors import Fault, InputError
from pipeline.core.files import UnwritableError
from pipeline.execution.ledger import Ledger

if TYPE_CHECKING:
    pass

MAX_STEP_BYTES = 1_000_000
"""A larger step carries arrays, which workers must read themselves."""
MAX_SUMMARY_BYTES = 100_000


class Item(Protocol):
    """Whatever a stage is cut into; `name` is unique in the stage and fit for a file name."""

    @property
    def name(self) -> str:
        """The item's name in the ledger."""


T = TypeVar("T", bound=Item)


@dataclass(frozen=True)
class Outcome:
    """What became of an item; `error` and `faults` are empty where it went well."""

    peak_memory: int = 0
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
class Work:
    """A stage's name, step, ledger and retries: all that a task needs but its item."""

    stage: str
    step: Callable[[Any], Any]
    ledger: Ledger
    retries: int

    def payload(self) -> bytes:
        """Step and ledger pickled, once for all tasks; `ValueError` where that carries arrays."""
        from distributed.protocol.pickle import dumps

        payload: bytes = dumps((self.step, self.ledger))
        if len(payload) > MAX_STEP_BYTES:
            size = f"{len(payload)} bytes"
            raise ValueError(f"the step of stage {self.stage} is {size}; pass paths, not arrays")
        return payload


def peak_memory() -> int:
    """Largest resident memory this process has had, in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def perform(step: Callable[[T], Any], ledger: Ledger, item: T) -> Outcome:
    """One try of one item, marked in the ledger by the process that wrote its result."""
    try:
        if not ledger.done(item.name):
            summary = dict(step(item) or {})
            if len(json.dumps(summary, default=str)) > MAX_SUMMARY_BYTES:
                raise ValueError(f"the summary of {item.name} is too large for the ledger")
            ledger.mark(item.name, summary)
        return Outcome(peak_memory())
    except InputError as error:
        hopeless = isinstance(error, UnwritableError)
        return Outcome(
            peak_memory(),
            str(error),
            traceback.format_exc(),
            error.faults or _blank(error),
            hopeless,
        )
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Outcome(peak_memory(), text, traceback.format_exc())


def _blank(error: InputError) -> tuple[Fault, ...]:
    return (Fault("input", str(error) or type(error).__name__, "good input"),)


def outcomes_here(work: Work, todo: Sequence[T]) -> Generator[tuple[T, Outcome], None, None]:
    """Each item and its outcome, done in this process."""
    for item in todo:
        outcome = perform(work.step, work.ledger, item)
        for _ in range(work.retries):
            if not outcome.is_worth_retrying:
                break
            outcome = perform(work.step, work.ledger, item)
        yield item, outcome
