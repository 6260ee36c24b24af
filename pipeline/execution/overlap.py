"""An executor for items that share a device: reading ahead, computing and writing go on at once.

Upstream: `executor`. Downstream: `run.run_stage` for stages whose work is a `Task`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pipeline.execution.executor import HERE, Here, Outcome, Outcomes, Stage, T, Task

AHEAD = 2
"""Items read before the device asks for them, and items computed that wait to be written; of each
thread.
"""


@dataclass(frozen=True)
class Overlapped(Here):
    """Items in this process: `threads` read ahead, as many write, while one computes.

    Work that is no `Task` has nothing to overlap and is run as `Here` does.
    """

    threads: int = 1
    """A GPU asks for more than one thread can bring."""

    def outcomes(self, stage: Stage, items: Sequence[T]) -> Outcomes[T]:
        """Each item and its outcome, in the order of the items, but for those that failed.

        What fails on the way is done again by itself with the stage's retries, so that one bad item
        costs no other, and the error is the item's own.
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
                ahead = self._ahead(task, left, started, failed, reading)
                try:
                    for item, result in task.compute(ahead):
                        del started[item.name]
                        writes.append((item, writing.submit(_write, stage, task, item, result)))
                        while writes and (
                            len(writes) > AHEAD * self.threads or writes[0][1].done()
                        ):
                            yield from _written(stage, *writes.popleft())
                except Exception:
                    # Whichever item it was, each of them will say so by itself.
                    failed += started.values()
                finally:
                    ahead.close()
                for pair in writes:
                    yield from _written(stage, *pair)
            yield from HERE.outcomes(stage, failed)

    def _ahead(
        self,
        task: Task,
        left: deque[T],
        started: dict[str, T],
        failed: list[T],
        reading: ThreadPoolExecutor,
    ) -> Generator[tuple[T, Any], None, None]:
        """Items with what they read, `AHEAD` a thread of which are at work; moves them to
        `started`.
        """
        reads: deque[tuple[T, Future[Any]]] = deque()

        def ask() -> None:
            while left and len(reads) <= AHEAD * self.threads:
                item = left.popleft()
                reads.append((item, reading.submit(task.read, item)))

        try:
            ask()
            while reads:
                item, read = reads.popleft()
                ask()
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


def _write(stage: Stage, task: Task, item: Any, result: Any) -> Outcome:
    return replace(stage, work=lambda item: task.write(item, result)).attempt(item)


def _written(stage: Stage, item: T, written: Future[Outcome]) -> Iterator[tuple[T, Outcome]]:
    outcome = written.result()
    if outcome.is_worth_retrying and stage.retries:
        yield from HERE.outcomes(stage, [item])
    else:
        yield item, outcome
