"""together(): work on many items at the same time, which ends cleanly and reports all faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from pipeline.core.errors import Fault, InputError, listed
from pipeline.core.files import UnwritableError
from pipeline.core.transfers import NoAccessError
from pipeline.execution.run import ending_on_sigterm
from pipeline.fetch.client import Client

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST_FAULTS = 8
"""Number of items that fail without one that does not, after which the work ends."""


def together(
    items: Sequence[Item], work: Callable[[Item], Result], client: Client, parallel: int
) -> Iterator[Result]:
    """Yield what `work` makes of the items, of which `parallel` are worked on at the same time.

    Raises one `InputError` for all that failed, after the others; a user who is refused, Ctrl-C and
    SIGTERM end the work.
    """
    faults: list[Fault] = []
    missing: list[str] = []
    in_a_row = 0
    with ending_on_sigterm(), ThreadPoolExecutor(parallel) as pool, _stopping(client):
        waiting: set[Future[Result]] = set()
        rest = iter(items)
        while True:
            few = islice(rest, parallel - len(waiting))
            waiting |= {pool.submit(work, item) for item in few}
            if not waiting:
                break
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                in_a_row += 1
                try:
                    yield future.result()
                    in_a_row = 0
                except (NoAccessError, UnwritableError):
                    raise
                except FileNotFoundError as error:
                    missing.append(str(error))
                except InputError as error:
                    faults += error.faults
                    if in_a_row >= MOST_FAULTS:
                        raise InputError(faults) from None
    if missing:
        hint = "They may not be published yet: choose a shorter period."
        faults.append(Fault(missing[0], f"no such file for {listed(missing)}",
                            "files for the whole period", hint))  # fmt: skip
    if faults:
        raise InputError(faults)


@contextmanager
def _stopping(client: Client) -> Iterator[None]:
    """Stop the threads of a client where the block ends with an error, before they are joined."""
    try:
        yield
    except BaseException:
        client.stop()
        raise
