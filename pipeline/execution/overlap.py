"""A stage whose items share the device: reading ahead, computing and writing go on at once.

Upstream: `tasks`. Downstream: `run.run_stage` for stages that give a `Flow`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.execution.items import Outcome, T, Work, outcomes_here, perform

AHEAD = 2
"""Items read before the device asks for them, and items computed that wait to be written; of each
thread.
"""


@dataclass(frozen=True)
class Flow:
    """A step in three: what an item reads, what is made of many items' reading, what is written.

    `compute` takes (item, what was read) and gives (item, result) in the same order, whenever it
    likes: it may put several items together.
    """

    read: Callable[[Any], Any]
    compute: Callable[[Iterator[tuple[Any, Any]]], Iterator[tuple[Any, Any]]]
    write: Callable[[Any, Any], Mapping[str, Any]]
    threads: int = 1
    """That read, and as many that write: a GPU asks for more than one can bring."""

    def step(self, item: Any) -> Mapping[str, Any]:
        """One item by itself."""
        ((_, result),) = self.compute(iter([(item, self.read(item))]))
        return self.write(item, result)


def outcomes_overlapped(
    flow: Flow, work: Work, todo: Sequence[T]
) -> Generator[tuple[T, Outcome], None, None]:
    """Each item and its outcome, in this process; threads read ahead, others write.

    What fails on the way is done again by itself with the stage's retries, so that one bad item
    costs no other, and the error is the item's own.
    """
    left = deque(todo)
    while left:
        started: dict[str, T] = {}
        failed: list[T] = []
        threads = flow.threads
        with ThreadPoolExecutor(threads) as reading, ThreadPoolExecutor(threads) as writing:
            writes: deque[tuple[T, Future[Outcome]]] = deque()
            ahead = _ahead(flow, left, started, failed, reading)
            try:
                for item, result in flow.compute(ahead):
                    del started[item.name]
                    step = partial(_write, flow, result)
                    writes.append((item, writing.submit(perform, step, work.ledger, item)))
                    while writes and (len(writes) > AHEAD * threads or writes[0][1].done()):
                        yield from _outcome(work, *writes.popleft())
            except Exception:
                # Whichever item it was, each of them will say so by itself.
                failed += started.values()
            finally:
                ahead.close()
            for pair in writes:
                yield from _outcome(work, *pair)
        yield from outcomes_here(work, failed)


def _write(flow: Flow, result: Any, item: T) -> Mapping[str, Any]:
    return flow.write(item, result)


def _outcome(work: Work, item: T, written: Future[Outcome]) -> Iterator[tuple[T, Outcome]]:
    outcome = written.result()
    if outcome.is_worth_retrying and work.retries:
        yield from outcomes_here(work, [item])
    else:
        yield item, outcome


def _ahead(
    flow: Flow, left: deque[T], started: dict[str, T], failed: list[T], reading: ThreadPoolExecutor
) -> Generator[tuple[T, Any], None, None]:
    """Items with what they read, `AHEAD` a thread of which are at work; moves them to `started`."""
    reads: deque[tuple[T, Future[Any]]] = deque()

    def ask() -> None:
        while left and len(reads) <= AHEAD * flow.threads:
            item = left.popleft()
            reads.append((item, reading.submit(flow.read, item)))

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
