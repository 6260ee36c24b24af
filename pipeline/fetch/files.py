"""fetch_files(): the files of an order that are not there, several at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.catalog.downloads import FilesDownload
from pipeline.core.addresses import path_of
from pipeline.core.errors import Fault, InputError, bad_input
from pipeline.core.files import tidy_once
from pipeline.core.remote_path import RemotePath
from pipeline.fetch.cds import transfer_result
from pipeline.fetch.client import Client
from pipeline.fetch.listing import remote_files
from pipeline.fetch.manifest import Manifest, Record
from pipeline.fetch.order import Order, RemoteFile
from pipeline.fetch.parallel import together
from pipeline.fetch.transfer import record_of, transfer

State = Literal["there", "begun", "to fetch"]


@dataclass(frozen=True)
class Planned:
    """A file of an order and whether it is there."""

    file: RemoteFile
    state: State


def planned_files(order: Order, client: Client, update: bool = False) -> list[Planned]:
    """Return the files of an order with their state.

    With `update`, files whose version on the server has changed are to fetch. Raises `InputError`
    with the files that are there but made by another request, or not by this command and of
    another size than on the server.
    """
    files = remote_files(order, client)
    records = Manifest(order.home).records()
    faults: list[Fault] = []
    planned = []
    for file in files:
        record = records.get(file.path.relative_to(order.folder).as_posix())
        try:
            planned.append(Planned(file, _state(order, client, file, record, update)))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return planned


def _state(
    order: Order, client: Client, file: RemoteFile, record: Record | None, update: bool
) -> State:
    if not file.path.exists():
        return "begun" if file.partial.exists() else "to fetch"
    size = file.path.stat().st_size
    if record is None:
        known = file.size if file.size is not None or file.inputs else size_of(client, file)
        if known != size:
            raise bad_input(
                str(file.path), "a file that this command did not fetch",
                f"one of {known:,} bytes" if known is not None else "none",
                "Move it away, or fetch into another folder with --into.",
            )  # fmt: skip
        Manifest(order.home).add(record_of(file, order.folder))
        return "there"
    if record.origin != file.origin:
        raise bad_input(
            str(file.path), "a file of other bounds, variables or another address",
            "one of this request", "Fetch into another folder with --into, or delete it.",
        )  # fmt: skip
    if record.size != size:
        raise bad_input(str(file.path), f"{size:,} bytes", f"the {record.size:,} bytes fetched",
                        "Delete it and run the same command again.")  # fmt: skip
    if update and not file.inputs and version_of(client, file) != record.version:
        return "to fetch"
    return "there"


def size_of(client: Client, file: RemoteFile) -> int | None:
    """Return the bytes of a file on its server; None where they are not stated."""
    return _head(client, file)[0]


def version_of(client: Client, file: RemoteFile) -> str:
    """Return the version of a file on its server, empty where none is stated."""
    return _head(client, file)[1]


def _head(client: Client, file: RemoteFile) -> tuple[int | None, str]:
    path = path_of(file.address)
    if isinstance(path, RemotePath) and not path.is_web:
        head = path.head()
        return head.size, head.version

    def attempt(method: str, headers: dict[str, str]) -> tuple[int | None, str]:
        with client.ask(method, file.address, file.login, headers) as answer:
            length = answer.headers.get("Content-Length", "")
            if answer.status_code == 206:
                length = answer.headers.get("Content-Range", "").rpartition("/")[2]
            version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            return int(length) if length.isdigit() else None, version

    try:
        return client.patiently(file.address, lambda: attempt("HEAD", {}))
    except InputError:
        # Some servers answer no HEAD request.
        first = {"Range": "bytes=0-0"}
        return client.patiently(file.address, lambda: attempt("GET", first))


def fetch_files(
    order: Order,
    client: Client,
    done: Callable[[Record], None] = lambda record: None,
    update: bool = False,
) -> list[Record]:
    """Fetch the files of an order that are not there, and return their records.

    `done` is called after each of them. All faults are raised together in the end; files that were
    fetched stay. Ctrl-C and SIGTERM end it after the present blocks, and the next call goes on.
    """
    planned = planned_files(order, client, update)
    manifest, records = Manifest(order.home), []
    is_sparse = isinstance(order.download, FilesDownload) and order.download.sparse

    def one(file: RemoteFile) -> Record | None:
        try:
            if file.inputs is not None:
                record = transfer_result(client, file, order.folder)
            else:
                record = transfer(client, file, order.folder, replace=update)
        except FileNotFoundError:
            if not is_sparse:
                raise
            file.partial.unlink(missing_ok=True)
            return None
        manifest.add(record)
        return record

    for folder in {item.file.path.parent for item in planned}:
        tidy_once(folder)
    wanted = [item.file for item in planned if item.state != "there"]
    for record in together(wanted, one, client, order.download.parallel):
        if record is not None:
            records.append(record)
            done(record)
    if not records and len(wanted) == len(planned):
        raise bad_input(f'source "{order.source.name}"', "no files for these bounds",
                        "at least one", "Try larger bounds.")  # fmt: skip
    return sorted(records, key=lambda record: record.path)
