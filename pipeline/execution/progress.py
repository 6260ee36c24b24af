"""Progress bar of a stage with rate and remaining time; shown on a terminal only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Tiles per second, or seconds per tile where that is more than one."""

    def render(self, task: Task) -> Text:
        """The rate as text."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def is_hidden() -> bool:
    """Whether the level of the package's logger hides progress."""
    return logging.getLogger("pipeline").level > logging.INFO


@contextmanager
def stage_bar(
    name: str, total: int, done: int, shown: bool = True
) -> Iterator[Callable[[int], None]]:
    """Yields a function to call after each item with the number of failures so far."""
    console = Console(stderr=True)
    if is_hidden() or not (shown and console.is_terminal and total > done):
        yield lambda failures: None
        return
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total, completed=done, failures="")

        def advance(failures: int) -> None:
            bar.update(task, advance=1, failures=f"{failures} failed" if failures else "")

        yield advance
