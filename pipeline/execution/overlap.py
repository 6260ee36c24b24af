"""Executor for items that share a device: reading, computing and writing overlap.

It serves stages whose work is a `Task`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pipeline.execution.executor import HERE, Here, Outcome, Outcomes, Stage, T, Task

AHEAD = 2
"""Items per thread that are read in advance, and computed ones per thread that wait for writing."""


@dataclass(frozen=True)
class Overlapped(Here):
    """Runs items in this process: `threads` read ahead and as many write, while one computes.

    Work that is not a `Task` is run as by `Here`.
    """

    threads: int = 1
    """Number of threads that read, and of threads that write; a GPU needs more than one."""

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item and its outcome, in the order of the items; those that failed come last.

        A failed item is repeated alone with the stage's retries, so that it affects no other item
        and its error is its own.
        """
        task = stage.work
        if not isinstance(task, Task):
            yield from HERE.outcomes(stage, items)
            return
        left = deque(items)
        while left:
            started: dict[str, T] = {}
            failed: list[T] = []
            with (
                ThreadPoolExecutor(self.threads) as reading,
                ThreadPoolExecutor(self.threads) as writing,
            ):
                writes: deque[tuple[T, Future[Outcome]]] = deque()
                ahead = self._ahead(stage, task, left, started, failed, reading)
                try:
                    for item, result in task.compute(ahead):
                        del started[item.name]
                        writes.append((item, writing.submit(_write, stage, task, item, result)))
                        while writes and (
                            len(writes) > AHEAD * self.threads or writes[0][1].done()
                        ):
                            yield from _written(stage, *writes.popleft())
                except Exception:
                    # Any of the started items may be at fault: each is repeated alone.
                    failed += started.values()
                finally:
                    ahead.close()
                for pair in writes:
                    yield from _written(stage, *pair)
            yield from HERE.outcomes(stage, failed)

    def _ahead(
        self,
        stage: Stage,
        task: Task,
        left: deque[T],
        started: dict[str, T],
        failed: list[T],
        reading: ThreadPoolExecutor,
    ) -> Generator[tuple[T, Any], None, None]:
        """Items with their input, of which `AHEAD` per thread are read in advance.

        Items move from `left` to `started`, or to `failed` where reading failed.
        """
        reads: deque[tuple[T, Future[Any]]] = deque()

        def submit() -> None:
            while left and len(reads) <= AHEAD * self.threads:
                item = left.popleft()
                reads.append((item, reading.submit(_read, stage, task, item)))

        try:
            submit()
            while reads:
                item, read = reads.popleft()
                submit()
                if read.exception() is not None:
                    failed.append(item)
                    continue
                started[item.name] = item
                yield item, read.result()
        finally:
            # The next round reads them again.
            for item, read in reversed(reads):
                read.cancel()
                left.appendleft(item)


def _read(stage: Stage, task: Task, item: Any) -> Any:
    return stage.in_time(item, lambda: task.read(item))


def _write(stage: Stage, task: Task, item: Any, result: Any) -> Outcome:
    return replace(stage, work=lambda item: task.write(item, result)).attempt(item)


def _written(stage: Stage, item: T, written: Future[Outcome]) -> Iterator[tuple[T, Outcome]]:
    outcome = written.result()
    if outcome.is_worth_retrying and stage.retries:
        yield from HERE.outcomes(stage, [item])
    else:
        yield item, outcome
