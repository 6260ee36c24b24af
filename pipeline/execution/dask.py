"""Executor that runs the items of a stage on the workers of a Dask cluster.

The scheduler holds a bounded number of tasks, however many items there are.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.system.failures import is_out_of_memory
from pipeline.core.system.time_limit import has_stuck_threads
from pipeline.execution.executor import (
    LESS_MEMORY,
    Outcome,
    Outcomes,
    Stage,
    T,
    failure,
    peak_memory,
)

if TYPE_CHECKING:
    from distributed import Client

MAX_STAGE_BYTES = 1_000_000
"""Largest size of a pickled stage: larger ones carry arrays, which workers must read themselves."""
WINDOW_PER_THREAD = 8
"""Number of tasks that the scheduler holds per worker thread: one runs, the others are ready."""
REPORT_SECONDS = 1.0
"""Time in which a worker reports its last task before it is replaced."""
ALONE = -1
"""Number of retries of an item that is tried once more, with no other item on any worker."""
TASK_SECONDS, MAX_ITEMS = 0.25, 16
"""Largest duration and number of items of a task: each task costs the scheduler milliseconds."""


@dataclass(frozen=True)
class OnCluster:
    """Runs items on the workers of a Dask client; work must be picklable and carry no arrays."""

    client: Client

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item and its outcome, in the order in which workers finish.

        Successful items send no result back: their summaries are in the ledger.
        """
        with _scheduler_alive(self.client):
            yield from _outcomes_on_cluster(self.client, stage, items)

    def peak_memory(self) -> int:
        """Largest resident memory that any of the present workers has had, in bytes."""
        try:
            return max(self.client.run(peak_memory, on_error="ignore").values(), default=0)
        except (OSError, TimeoutError):
            return 0


class Payload(bytes):
    """A pickled stage, of which the logs of Dask show no bytes: these hold settings."""

    def __repr__(self) -> str:
        return f"<a stage of {len(self)} bytes>"


def _pickled(stage: Stage) -> Payload:
    """The stage pickled, once for all tasks; `ValueError` where its work carries arrays."""
    from distributed.protocol.pickle import dumps

    payload = Payload(dumps(stage))
    if len(payload) > MAX_STAGE_BYTES:
        size = f"{len(payload)} bytes"
        raise ValueError(f"the work of stage {stage.name} is {size}; pass paths, not arrays")
    return payload


@lru_cache(maxsize=8)
def _unpickled(payload: bytes) -> Stage:
    from distributed.protocol.pickle import loads

    stage: Stage = loads(payload)
    return stage


class TaskError(Exception):
    """Carries the outcomes of failed attempts from a worker; successful ones send nothing."""

    def __init__(self, outcomes: dict[str, Outcome]) -> None:
        super().__init__(outcomes)
        self.outcomes = outcomes

    def __str__(self) -> str:
        return f"no result of {', '.join(self.outcomes)}"

    def __repr__(self) -> str:
        return f"TaskError({self})"


def attempt_on_worker(payload: bytes, items: Sequence[Any]) -> None:
    """Attempt each item of a pickled stage, which a worker unpickles once; raises `TaskError`."""
    stage = _unpickled(payload)
    tried = {item.name: stage.attempt(item) for item in items}
    if has_stuck_threads():
        _replace_worker()
    if failed := {name: outcome for name, outcome in tried.items() if outcome.error}:
        raise TaskError(failed)


def _replace_worker() -> None:
    """Start this worker's process anew, whose libraries may be locked by a call that never ends.

    It ends after it has reported its task, which would be repeated elsewhere otherwise.
    """
    from distributed import get_worker

    worker = get_worker()
    end = partial(worker.close_gracefully, restart=True)
    worker.loop.add_callback(worker.loop.call_later, REPORT_SECONDS, end)


@contextmanager
def _scheduler_alive(client: Client) -> Iterator[None]:
    """Turn the various errors of a lost scheduler into one `InputError`."""
    address = client.scheduler.address if client.scheduler else "of this run"
    try:
        yield
    except Exception as error:
        # The error of a lost connection depends on the call during which it was lost.
        if isinstance(error, InputError) or client.status == "running":
            raise
        raise bad_input(
            f"scheduler {address}",
            "a connection that was lost in the middle of the stage",
            "a scheduler that runs as long as the stage",
            "Start a scheduler and run again: finished tiles are kept.",
        ) from None


def _outcomes_on_cluster(client: Client, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
    from distributed import as_completed

    task = partial(attempt_on_worker, _pickled(stage))
    waiting = deque((item, stage.retries) for item in items)
    # All tasks of a worker that died are reported as killed: which one did it shows alone.
    suspects: deque[T] = deque()
    running: dict[Any, list[tuple[T, int]]] = {}
    completed = as_completed()
    window, grouping = _Window(client), _Grouping()
    try:
        while waiting or running or suspects:
            room = window.size() - len(running)
            if not (waiting or running):
                waiting.append((suspects.popleft(), ALONE))
            if waiting and 2 * room >= window.size():
                size = grouping.size(len(waiting), window.threads)
                groups = list(_groups(waiting, size, room, stage.retries))
                keys = [f"{stage.name}-{g[0][0].name}-{uuid4().hex}" for g in groups]
                lists = [[item for item, _ in group] for group in groups]
                futures = client.map(task, lists, key=keys, pure=False)
                running |= zip(futures, groups, strict=True)
                completed.update(futures)
            for future in completed.next_batch():
                group = running.pop(future)
                was_killed = _is_killed(future)
                outcomes = _outcomes(stage.name, future, [item.name for item, _ in group])
                future.release()
                grouping.count(len(group))
                for (item, tries), outcome in zip(group, outcomes, strict=True):
                    if was_killed and tries != ALONE:
                        suspects.append(item)
                    elif outcome.is_worth_retrying and tries > 0:
                        waiting.append((item, tries - 1))
                    else:
                        yield item, outcome
    finally:
        if running and client.status == "running":
            client.cancel(list(running), force=True)


_DEATHS = {"FutureCancelledError": "the scheduler or its last worker went away"}


def _is_killed(future: Any) -> bool:
    """Whether workers died while they had the task of a future."""
    return future.status == "error" and type(future.exception()).__name__ == "KilledWorker"


def _killed(stage: str, item: str, error: Any) -> Outcome:
    """The outcome of an item whose workers were killed, as the system does for lack of memory."""
    limit = getattr(error.last_worker, "memory_limit", 0) or 0
    had = f"{limit / 2**30:.2f} GiB" if limit else "the memory that it had"
    count = error.allowed_failures + 1
    fault = Fault(
        f"stage {stage}, {item}",
        f"{count} workers that died while they computed this tile, each with {had}",
        f"a tile that fits into a worker: it needs more than {had}",
        f"{LESS_MEMORY} Where memory was free, the system's log has the reason (dmesg).",
    )
    return Outcome(str(fault), str(error), (fault,))


def _groups(
    waiting: deque[tuple[T, int]], size: int, count: int, retries: int
) -> Iterator[list[tuple[T, int]]]:
    """Up to `count` groups of `size` items, taken from the front of `waiting`.

    An item that failed before is a group of its own: if it ends its worker, no other item is lost.
    """
    while waiting and count:
        group = [waiting.popleft()]
        while waiting and len(group) < size and group[0][1] == waiting[0][1] == retries:
            group.append(waiting.popleft())
        yield group
        count -= 1


def _outcomes(stage: str, future: Any, names: Sequence[str]) -> list[Outcome]:
    """The outcomes of a finished future, or those that its error carries."""
    if future.status == "finished":
        return [Outcome()] * len(names)
    error = future.exception() if future.status == "error" else None
    if isinstance(error, TaskError):
        return [error.outcomes.get(name, Outcome()) for name in names]
    if _is_killed(future):
        return [_killed(stage, name, error) for name in names]
    kind = type(error).__name__
    if error is not None and is_out_of_memory(error):
        return [failure(stage, name, error) for name in names]
    text = _DEATHS.get(kind, f"{kind}: {error}") if error else f"the task was {future.status}"
    return [Outcome(error=text, trace=text)] * len(names)


class _Grouping:
    """Number of items per task: several where one item takes only milliseconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = 0

    def count(self, items: int) -> None:
        """Count `items` more as done."""
        self.done += items

    def size(self, waiting: int, threads: int) -> int:
        """Items per task from now on; fewer near the end, so that all workers have tasks."""
        if self.done < WINDOW_PER_THREAD:
            return 1
        seconds = (time.monotonic() - self.began) * threads / self.done
        fair = waiting // (WINDOW_PER_THREAD * threads)
        return max(1, min(int(TASK_SECONDS / seconds), MAX_ITEMS, fair))


class _Window:
    """Number of tasks that the scheduler may hold; follows workers that come and go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.counted_at = -1.0
        self.threads = 1

    def size(self) -> int:
        """Number of tasks for the present workers, which are counted once a second."""
        now = time.monotonic()
        if self.counted_at < 0 or now - self.counted_at > 1.0:
            self.counted_at = now
            self.threads = max(1, sum(self.client.nthreads().values()))
        return WINDOW_PER_THREAD * self.threads
