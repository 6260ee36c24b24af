"""remote_files(): the files of an order with their addresses, from templates and from indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from pipeline.catalog.downloads import CdsDownload, EarthdataDownload, FilesDownload
from pipeline.core.addresses import path_of, public_uri
from pipeline.core.errors import bad_input
from pipeline.core.remote_path import RemotePath
from pipeline.core.web import linked
from pipeline.core.written.names import checked_below
from pipeline.fetch.client import Client, field_of
from pipeline.fetch.order import Order, RemoteFile
from pipeline.fetch.templates import all_values, day_values, keys_of

PAGE_SIZE = 2000
"""Granules that CMR lists at once, the most it does."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
HOURS = [f"{hour:02d}:00" for hour in range(24)]


def remote_files(order: Order, client: Client) -> list[RemoteFile]:
    """Return the files of an order in order of their paths, each once.

    Raises `InputError` if an index has none, and if two files would have the same path.
    """
    match order.download:
        case FilesDownload():
            found = list(_known_files(order, order.download))
        case EarthdataDownload():
            found = list(_granules(order, order.download, client))
        case CdsDownload():
            found = list(_requests(order, order.download, client))
        case _:
            raise AssertionError(order.download.kind)
    by_path: dict[Path, RemoteFile] = {}
    for file in found:
        for path in (file.path, file.unpack_into or file.path):
            checked_below(f'source "{order.source.name}"', order.folder, path)
        other = by_path.setdefault(file.path, file)
        if other.origin != file.origin:
            raise bad_input(
                f'source "{order.source.name}"', f"{other.shown} and {file.shown} for {file.path}",
                "a path for each file", "Name all keys of the addresses in `to`.",
            )  # fmt: skip
    if not by_path:
        raise bad_input(f'source "{order.source.name}"', "no files for this period and bounds",
                        "at least one", "Try a longer period or larger bounds.")  # fmt: skip
    return [by_path[path] for path in sorted(by_path)]


def _known_files(order: Order, download: FilesDownload) -> Iterator[RemoteFile]:
    keys = keys_of(*download.files, order.to)
    for values in all_values(order, keys, download.each, download.tiles):
        for template in download.files:
            for address, size in _addresses(template.format(**values)):
                name = unquote(PurePosixPath(urlsplit(address).path).name)
                path = order.folder / _path(order.to, values, name)
                unpacks = download.unpack and (name.endswith(ARCHIVES) or "." not in name)
                into = path.with_name(_stem(name)) if unpacks else None
                yield RemoteFile(
                    address=address, path=path, login=download.auth, size=size,
                    checksum=download.checksums.get(name), unpack_into=into,
                )  # fmt: skip


def _addresses(address: str) -> Iterator[tuple[str, int | None]]:
    """Yield an address, or those of the objects of a bucket that match it, with their bytes."""
    path = path_of(address)
    if not isinstance(path, RemotePath) or path.is_web or "*" not in path.key:
        yield address, None
        return
    parts = path.key.split("/")
    first = next(i for i, part in enumerate(parts) if "*" in part)
    folder = replace(path, key="/".join(parts[:first]))
    for found in folder.glob("/".join(parts[first:])):
        yield str(found), found.head().size


def _path(template: str, values: Mapping[str, Any], name: str) -> str:
    path = template.format(**values)
    return path + name if path.endswith("/") else path


def _stem(name: str) -> str:
    return next((name.removesuffix(end) for end in ARCHIVES if name.endswith(end)), f"{name}.d")


def _granules(order: Order, download: EarthdataDownload, client: Client) -> Iterator[RemoteFile]:
    """Yield the files of the granules that CMR lists, with the sizes and checksums it has."""
    query = {"short_name": download.short_name, "version": download.collection,
             "page_size": str(PAGE_SIZE)}  # fmt: skip
    if order.period:
        begin, end = order.period
        query["temporal"] = f"{begin}T00:00:00Z,{end}T23:59:59Z"
    if order.bounds:
        query["bounding_box"] = ",".join(map(str, order.bounds))
    address = f"{download.endpoint}/search/granules.umm_json?{urlencode(query)}"
    after: dict[str, str] = {}
    while True:
        page, headers = client.page("GET", address, headers=after)
        items = field_of(page, public_uri(address), "items")
        for item in items:
            found = field_of(item, public_uri(address), "umm")
            yield from _files_of_granule(order, download, found)
        if "CMR-Search-After" not in headers or not items:
            return
        after = {"CMR-Search-After": headers["CMR-Search-After"]}


def _files_of_granule(
    order: Order, download: EarthdataDownload, granule: Mapping[str, Any]
) -> Iterator[RemoteFile]:
    archived = granule.get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    known = {one["Name"]: one for one in archived if "Name" in one}
    begin = granule.get("TemporalExtent", {}).get("RangeDateTime", {}).get("BeginningDateTime")
    values = day_values(datetime.fromisoformat(begin).date()) if begin else {}
    for link in granule.get("RelatedUrls", []):
        address = str(link.get("URL", ""))
        name = unquote(PurePosixPath(urlsplit(address).path).name)
        if link.get("Type") != "GET DATA" or not address.startswith("http"):
            continue
        if fnmatchcase(name, download.match):
            of = known.get(name, {})
            yield RemoteFile(
                address=linked(download.endpoint, address),
                path=order.folder / _path(order.to, values, name),
                login=download.auth, size=of.get("SizeInBytes"), checksum=_checksum(of),
            )  # fmt: skip


def _checksum(archived: Mapping[str, Any]) -> str | None:
    found = archived.get("Checksum", {})
    algorithm = re.sub("[^a-z0-9]", "", str(found.get("Algorithm", "")).lower())
    return f"{algorithm}:{found['Value'].lower()}" if algorithm in ("md5", "sha1", "sha256",
                                                                    "sha512") else None  # fmt: skip


def _requests(order: Order, download: CdsDownload, client: Client) -> Iterator[RemoteFile]:
    """Yield one file for each step of the keys in `to`, with the inputs of its job.

    The days of a step do not depend on the period, so that a file is the same for any.
    """
    url, _ = client.credentials.cds()
    names = order.variables or tuple(download.variables)
    variables = sorted({download.variables[name] for name in names})
    keys = keys_of(order.to)
    for values in all_values(order, keys, {}, None):
        inputs: dict[str, Any] = {**download.request}
        inputs |= {k: v for k, v in _dates(keys, values).items() if k in download.dates}
        if variables:
            inputs["variable"] = variables
        if download.hourly:
            inputs["time"] = HOURS
        if download.area and order.bounds:
            west, south, east, north = order.bounds
            inputs["area"] = [north, west, south, east]
        yield RemoteFile(
            address=f"{url}/retrieve/v1/processes/{download.dataset}/execution",
            path=order.folder / order.to.format(**values), login=download.auth, inputs=inputs,
        )  # fmt: skip


def _dates(keys: set[str], values: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the years, months and days of a step."""
    if "year" not in keys:
        return {}
    months = [values["month"]] if "month" in keys else range(1, 13)
    days = [values["day"]] if "day" in keys else range(1, _longest(values["year"], months) + 1)
    return {
        "year": [f"{values['year']:04d}"],
        "month": [f"{month:02d}" for month in months],
        "day": [f"{day:02d}" for day in days],
    }


def _longest(year: int, months: Any) -> int:
    """Return the days of the longest of some months."""
    ends = (date(year + month // 12, month % 12 + 1, 1) - timedelta(1) for month in months)
    return max(end.day for end in ends)
