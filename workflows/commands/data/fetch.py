"""Files of a product from its provider: `stefaland fetch era5_land --period 2015-01 2015-03`."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline.core.errors import bad_input
from pipeline.core.transfers import fetched_bytes
from pipeline.execution.progress import is_hidden
from pipeline.fetch.client import Client
from pipeline.fetch.manifest import NAME
from pipeline.fetch.order import Bounds, Order, Period, make_order
from pipeline.fetch.run import fetch, preview
from workflows.console import OUTPUT

MOST_ROWS = 20
"""Number of files that a dry run lists in its table; all are in the JSON document."""


def fetch_source(
    source: str,
    period: tuple[str, str] | None,
    bounds: Bounds | None,
    variables: Sequence[str],
    into: Path,
    catalog: str | None = None,
    dry_run: bool = False,
    update: bool = False,
) -> dict[str, Any]:
    """Fetch the files of a source, or with `dry_run` list what would be fetched.

    Returns plain values, whose keys docs/json.md describes. Raises `InputError` with all faults,
    and for data that a person must request with the steps to take.
    """
    order = make_order(
        source, into, catalog=catalog, period=_days(period), bounds=bounds, variables=variables
    )  # fmt: skip
    client = Client(rate=order.download.rate)
    about = {
        "source": source, "product": order.name, "licence": order.product.licence,
        "folder": str(order.home),
    }  # fmt: skip
    if dry_run and order.download.kind != "manual":
        return about | _previewed(order, client, update)
    with _received() as done:
        records = fetch(order, client, done, update)
    return about | {
        "fetched": [
            {"path": record.path, "bytes": record.size, "sha256": record.sha256}
            for record in records
        ],
        "manifest": str(order.home / NAME),
        "entry": _shorter_entry(order),
    }


def _shorter_entry(order: Order) -> dict[str, Any] | None:
    """The entry of a source with the variables that were ordered; None if these are all of it."""
    source = order.source
    if not order.variables or set(order.variables) >= set(source.variables):
        return None
    kept = {name: source.variables[name] for name in source.variables if name in order.variables}
    entry = source.model_copy(update={"variables": kept})
    about = {"name", "title", "licence", "doi", "reference"}
    return entry.model_dump(mode="json", exclude_unset=True, exclude=about)


def _previewed(order: Order, client: Client, update: bool) -> dict[str, Any]:
    found = preview(order, client, update)
    return {
        "credentials": {"needs": found.needs, "present": found.has, "hint": found.hint},
        "requests": found.requests,
        "bytes": found.size,
        "estimated": found.is_estimate,
        "files": [
            {"path": str(row.path), "address": row.address, "state": row.state, "bytes": row.size}
            for row in found.rows
        ],
    }


def _days(period: tuple[str, str] | None) -> Period | None:
    """The first and last day of a period of days, months (2015-01) or years."""
    if period is None:
        return None
    return _day(period[0], is_last=False), _day(period[1], is_last=True)


def _day(text: str, is_last: bool) -> date:
    try:
        year, month, day = (*map(int, text.split("-")), None, None)[:3]
        if year is None or len(text.split("-")) > 3:
            raise ValueError
        month = month or (12 if is_last else 1)
        day = day or (calendar.monthrange(year, month)[1] if is_last else 1)
        return date(year, month, day)
    except ValueError:
        raise bad_input("--period", f'"{text}"', "a day, month or year, as in 2015-01-31, 2015-01 "
                        "or 2015") from None  # fmt: skip


class _Bytes(ProgressColumn):
    """Bytes received so far, and per second."""

    def render(self, task: Task) -> Text:
        """The bytes as text."""
        received = fetched_bytes() - task.fields["begin"]
        return Text(f"{size_text(received)}, {size_text(received / (task.elapsed or 1))}/s")


@contextmanager
def _received() -> Iterator[Callable[[int], None]]:
    """Show the files and bytes received on a terminal; yields a function to call after each."""
    console = Console(stderr=True)
    if is_hidden() or not console.is_terminal:
        yield lambda size: None
        return
    columns = (TextColumn("{task.completed:.0f} fetched,"), _Bytes(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetch", total=None, begin=fetched_bytes())
        yield lambda size: bar.advance(task)


def size_text(size: float | None) -> str:
    """A number of bytes with its unit."""
    if size is None:
        return "unknown"
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def _below(path: str, folder: str) -> str:
    """The path of a file below the data folder."""
    return Path(path).relative_to(Path(folder).parent).as_posix()


def print_preview(found: dict[str, Any]) -> None:
    """Print the result of a dry run of `fetch_source`."""
    table = Table("file", "address", "state", "size")
    for row in found["files"][:MOST_ROWS]:
        table.add_row(
            _below(row["path"], found["folder"]),
            row["address"],
            row["state"],
            size_text(row["bytes"]),
        )
    if (more := len(found["files"]) - MOST_ROWS) > 0:
        table.add_row(f"and {more} more", "", "", "")
    OUTPUT.print(table)
    about = "about " if found["estimated"] else ""
    OUTPUT.plain(f"to fetch: {about}{size_text(found['bytes'])} in {found['requests']} requests")
    OUTPUT.plain(f"licence: {found['licence']}")
    credentials = found["credentials"]
    if credentials["needs"]:
        state = "present" if credentials["present"] else f"missing. {credentials['hint']}"
        OUTPUT.plain(f"credentials: {credentials['needs']}: {state}")


def print_fetched(found: dict[str, Any]) -> None:
    """Print the result of `fetch_source`."""
    size = sum(record["bytes"] for record in found["fetched"])
    OUTPUT.plain(f"{len(found['fetched'])} fetched ({size_text(size)}) into {found['folder']}")
    OUTPUT.plain(f"licence: {found['licence']}")
    if (entry := found["entry"]) is not None:
        name = f"{found['source']}_part"
        OUTPUT.plain(
            f"The entry {found['source']} has more variables, which a check misses in these files. "
            "Fetch them by the same command without --variables, or use this entry in a catalog "
            "of your own:"
        )
        OUTPUT.plain(yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True).rstrip())
