"""fetch() and preview() of an order: its files or stores, fetched or only described."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.catalog.downloads import ManualDownload, ZarrDownload
from pipeline.core.addresses import path_of, public_uri
from pipeline.core.errors import InputError, bad_input
from pipeline.core.remote_path import RemotePath
from pipeline.fetch.client import Client
from pipeline.fetch.credentials import HINTS, NAMES
from pipeline.fetch.files import fetch_files, planned_files, size_of
from pipeline.fetch.manifest import Record
from pipeline.fetch.order import Order, RemoteFile
from pipeline.fetch.stores import chunks_to_fetch, fetch_stores, stores_of
from pipeline.fetch.zarr_store import Store
from pipeline.fetch.zarr_window import find_window

SAMPLE = 16
"""Number of files whose size is asked for; the bytes of more are estimated."""


@dataclass(frozen=True)
class Row:
    """A file or store of an order."""

    path: Path
    address: str
    state: str
    """One of there, begun and to fetch."""
    size: int | None
    """Bytes to fetch, 0 for what is there; None where they are not known."""
    requests: int = 1


@dataclass(frozen=True)
class Preview:
    """What fetching an order would do."""

    rows: Sequence[Row]
    is_estimate: bool
    """Whether sizes are those of a sample."""
    needs: str
    """Credentials that are needed; empty if none are."""
    has: bool
    """Whether these are there."""
    hint: str
    """What to do without them."""

    @property
    def size(self) -> int | None:
        """Bytes to fetch; None where they are not known."""
        sizes = [row.size for row in self.rows]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def requests(self) -> int:
        """Number of requests for data."""
        return sum(row.requests for row in self.rows if row.state != "there")


def fetch(
    order: Order,
    client: Client,
    done: Callable[[int], None] = lambda size: None,
    update: bool = False,
) -> list[Record]:
    """Fetch what an order wants and is not there, and return the records of it.

    `done` is called with the bytes of each file or chunk. Raises `InputError` with all faults; what
    was fetched stays, and the same call goes on.
    """
    client.credentials.require(order.download.auth, _first_address(order))
    match order.download:
        case ManualDownload():
            raise _by_hand(order, order.download)
        case ZarrDownload():
            try:
                return fetch_stores(order, order.download, client, done)
            except FileNotFoundError as error:
                raise bad_input(str(error), "no such store", "one for the whole period",
                                "Choose a shorter period.") from None  # fmt: skip
    return fetch_files(order, client, lambda record: done(record.size), update)


def _by_hand(order: Order, download: ManualDownload) -> InputError:
    """Return the error for data that no program may fetch, with the steps that a person takes."""
    steps = "".join(f"\n  {i}. {step}" for i, step in enumerate(download.steps, 1))
    return bad_input(
        f'source "{order.source.name}"', "data that no program may fetch",
        f"the files at {order.source.address}", f"Fetch them by hand:{steps}",
    )  # fmt: skip


def preview(order: Order, client: Client, update: bool = False) -> Preview:
    """Return what `fetch` would do; sizes are those that the servers state.

    No more than `SAMPLE` of them are asked for, and none without the credentials that are needed.
    """
    auth = order.download.auth
    has = client.credentials.is_present(auth, _first_address(order))
    if isinstance(order.download, ZarrDownload):
        rows = [_store_row(order, store) for store in stores_of(order, order.download)]
        is_estimate = any(row.requests > SAMPLE for row in rows)
    else:
        rows, is_estimate = _file_rows(order, client, update and has, has)
    return Preview(rows, is_estimate, NAMES.get(auth, ""), has, HINTS[auth])


def _first_address(order: Order) -> str:
    files = getattr(order.download, "files", ())
    return files[0] if files else ""


def _file_rows(order: Order, client: Client, update: bool, may_ask: bool) -> tuple[list[Row], bool]:
    planned = planned_files(order, client, update)
    unknown = [
        item.file for item in planned
        if item.state != "there" and item.file.size is None and item.file.inputs is None
    ]  # fmt: skip
    every = max(1, -(-len(unknown) // SAMPLE))
    sizes: dict[Path, int | None] = {}
    if may_ask:
        sizes = {file.path: _size(client, file) for file in unknown[::every]}
    known = [size for size in sizes.values() if size is not None]
    mean = sum(known) // len(known) if known else None

    def size(file: RemoteFile) -> int | None:
        if file.inputs is not None:
            return None
        return file.size if file.size is not None else sizes.get(file.path, mean)

    rows = [
        Row(item.file.path, item.file.shown, item.state,
            0 if item.state == "there" else size(item.file))
        for item in planned
    ]  # fmt: skip
    return rows, len(unknown) > len(sizes)


def _size(client: Client, file: RemoteFile) -> int | None:
    try:
        return size_of(client, file)
    except FileNotFoundError:
        return None


def _store_row(order: Order, store: Store) -> Row:
    address = public_uri(store.address)
    if store.has(order):
        return Row(store.path, address, "there", 0, 0)
    begun = store.partial.exists()
    chunks = chunks_to_fetch(store, find_window(order, store))
    sample = chunks[:: max(1, -(-len(chunks) // SAMPLE))]
    sizes = [_chunk_size(store, *chunk) for chunk in sample]
    size = sum(sizes) * len(chunks) // len(sizes) if sizes else 0
    if not begun:
        shutil.rmtree(store.partial)
    return Row(store.path, address, "begun" if begun else "to fetch", size, len(chunks))


def _chunk_size(store: Store, array: str, key: str) -> int:
    path = path_of(store.address) / f"{array}/{key}"
    try:
        return (path.head().size or 0) if isinstance(path, RemotePath) else path.stat().st_size
    except FileNotFoundError:
        return 0
