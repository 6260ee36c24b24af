"""fetch_stores(): the chunks of Zarr stores that an order wants, as local stores."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.catalog.downloads import ZarrDownload
from pipeline.core.addresses import path_of, public_uri
from pipeline.core.files import tidy_once
from pipeline.core.remote_path import RemotePath
from pipeline.fetch.client import Client
from pipeline.fetch.locks import holding
from pipeline.fetch.manifest import Manifest, Record, digest_of_all, today
from pipeline.fetch.order import Order
from pipeline.fetch.parallel import together
from pipeline.fetch.templates import all_values, keys_of
from pipeline.fetch.zarr_store import Store
from pipeline.fetch.zarr_window import Window, fetch_chunk, find_window, finish, keep_chunks


def stores_of(order: Order, download: ZarrDownload) -> list[Store]:
    """Return the stores of an order, one for each step of the keys in its address."""
    keys = keys_of(download.store, order.to)
    return [
        Store(download.store.format(**values), order.folder / order.to.format(**values))
        for values in all_values(order, keys, {}, None)
    ]


def chunks_to_fetch(store: Store, window: Window) -> list[tuple[str, str]]:
    """Return arrays and keys of the chunks of a window that are not there."""
    keep_chunks(store, window)
    return [chunk for chunk in window.chunks() if not store.chunk(*chunk).exists()]


def fetch_stores(
    order: Order, download: ZarrDownload, client: Client, done: Callable[[int], None]
) -> list[Record]:
    """Fetch the chunks that are missing, store after store, and return the stores' records.

    `done` is called with the bytes of each chunk. A store is there when all its chunks are. Raises
    `InputError` with all faults of a store, and `FileNotFoundError` where the provider has none.
    """
    records = []
    for store in stores_of(order, download):
        tidy_once(store.path.parent)
        if store.has(order):
            continue
        lock = store.path.with_name(f".{store.path.name}.lock")
        with holding(lock, client.pause):
            # Another process may have completed it meanwhile.
            if not store.has(order):
                _complete(order, download, store, client, done)
                records.append(_recorded(order, store))
            lock.unlink()
    return records


def _complete(
    order: Order, download: ZarrDownload, store: Store, client: Client, done: Callable[[int], None]
) -> None:
    window = find_window(order, store)
    remote = path_of(store.address)
    host = remote.host if isinstance(remote, RemotePath) else ""

    def one(chunk: tuple[str, str]) -> int:
        client.take_turn(host)
        return fetch_chunk(store, *chunk)

    for size in together(chunks_to_fetch(store, window), one, client, download.parallel):
        done(size)
    finish(order, store, window)


def _recorded(order: Order, store: Store) -> Record:
    files = [path for path in store.path.rglob("*") if path.is_file()]
    sha256, size = digest_of_all(store.path, files)
    record = Record(
        path=store.path.relative_to(order.folder).as_posix(), address=public_uri(store.address),
        origin="", size=size, sha256=sha256, fetched=today(),
    )  # fmt: skip
    Manifest(order.home).add(record)
    return record
