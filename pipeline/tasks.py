"""The items of a stage done one after another here, or on a cluster's workers; as outcomes.

Downstream: `run.run_stage`. An item's task reads, computes, writes and marks by itself; what comes
back is small. The scheduler holds a bounded number of tasks, however many items there are.
"""

from __future__ import annotations

import json
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import uuid4

from pipeline.atomic import UnwritableError
from pipeline.ledger import Ledger
from stefaland.errors import Fault, InputError, bad_input

if TYPE_CHECKING:
    from distributed import Client

MAX_STEP_BYTES = 1_000_000
"""A larger step carries arrays, which workers must read themselves."""
MAX_SUMMARY_BYTES = 100_000
WINDOW_PER_THREAD = 8
"""Tasks the scheduler holds for each worker thread: one at work, the others ready."""


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


@lru_cache(maxsize=8)
def _unpickled(payload: bytes) -> tuple[Callable[[Any], Any], Ledger]:
    from distributed.protocol.pickle import loads

    step, ledger = loads(payload)
    return step, ledger


class TaskError(Exception):
    """Carries the outcome of a failed try from a worker; a good one needs no message at all."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def perform_on_worker(payload: bytes, item: Any) -> None:
    """`perform` of a pickled (step, ledger), which a worker unpickles once; raises `TaskError`."""
    step, ledger = _unpickled(payload)
    outcome = perform(step, ledger, item)
    if outcome.error:
        raise TaskError(outcome)


def outcomes_on_cluster(
    work: Work, todo: Sequence[T], client: Client
) -> Generator[tuple[T, Outcome], None, None]:
    """Each item and its outcome, as they come from the workers.

    Nothing is gathered from workers for an item that went well: its summary is in the ledger.
    """
    with _scheduler_alive(client):
        yield from _outcomes_on_cluster(work, todo, client)


@contextmanager
def _scheduler_alive(client: Client) -> Iterator[None]:
    """One clear error where the scheduler goes away, instead of what Dask's connections say."""
    address = client.scheduler.address if client.scheduler else "of this run"
    try:
        yield
    except Exception as error:
        # What a lost connection raises depends on the call that met it.
        if isinstance(error, InputError) or client.status == "running":
            raise
        raise bad_input(
            f"scheduler {address}",
            "a connection that was lost in the middle of the stage",
            "a scheduler that lives as long as the run",
            "Start one and run again: finished tiles stay.",
        ) from None


def _outcomes_on_cluster(
    work: Work, todo: Sequence[T], client: Client
) -> Generator[tuple[T, Outcome], None, None]:
    from distributed import as_completed

    task = partial(perform_on_worker, work.payload())
    waiting = deque((item, work.retries) for item in todo)
    flying: dict[Any, tuple[T, int]] = {}
    completed = as_completed()
    window = _Window(client)
    try:
        while waiting or flying:
            room = window.size() - len(flying)
            if waiting and 2 * room >= window.size():
                batch = [waiting.popleft() for _ in range(min(room, len(waiting)))]
                keys = [f"{work.stage}-{i.name}-{tries}-{uuid4().hex}" for i, tries in batch]
                futures = client.map(task, [item for item, _ in batch], key=keys, pure=False)
                flying |= zip(futures, batch, strict=True)
                completed.update(futures)
            for future in completed.next_batch():
                item, tries = flying.pop(future)
                outcome = _outcome(future)
                future.release()
                if outcome.is_worth_retrying and tries > 0:
                    waiting.append((item, tries - 1))
                else:
                    yield item, outcome
    finally:
        if flying and client.status == "running":
            client.cancel(list(flying), force=True)


_DEATHS = {
    "KilledWorker": "every worker that tried it died, most likely for lack of memory "
    "(raise cluster.memory_per_worker, or choose smaller tiles)",
    "FutureCancelledError": "the scheduler or its last worker went away",
}


def _outcome(future: Any) -> Outcome:
    """The outcome that a finished future stands for, or the one its error carries."""
    if future.status == "finished":
        return Outcome()
    error = future.exception() if future.status == "error" else None
    if isinstance(error, TaskError):
        return error.outcome
    kind = type(error).__name__
    text = _DEATHS.get(kind, f"{kind}: {error}") if error else f"the task was {future.status}"
    return Outcome(error=text, trace=text)


class _Window:
    """How many tasks the scheduler may hold; follows workers that come and go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked = -1.0
        self.tasks = 1

    def size(self) -> int:
        """Tasks for the present workers; asked of the scheduler once a second."""
        now = time.monotonic()
        if self.asked < 0 or now - self.asked > 1.0:
            self.asked = now
            threads = sum(self.client.nthreads().values())
            self.tasks = WINDOW_PER_THREAD * max(1, threads)
        return self.tasks


def peak_of_workers(client: Client) -> int:
    """Largest resident memory that any of the present workers has had, in bytes."""
    try:
        return max(client.run(peak_memory, on_error="ignore").values(), default=0)
    except (OSError, TimeoutError):
        return 0
