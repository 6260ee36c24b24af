"""asset_series(): the files that STAC items, collections or lists of items name as assets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.core.addresses import Access, AnyPath, RemotePath, is_remote, path_of
from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.files import version_of
from pipeline.entries.file_series import Period, Series, Step

THREADS = 16
KINDS = "an item, a collection or a list of items of STAC"


def asset_series(
    uris: Sequence[str], asset: str, access: Access, period: Period | None, spare: tuple[int, int]
) -> Series:
    """Return the paths of the `asset` of all items by the times of the items, in order.

    The step is () for a single time; otherwise it is (year, month, day), or those and hour, minute
    and second if any time is not midnight. Items of the same time are tiles of a mosaic. Items more
    than `spare` days before and after the `period` are left out. A document that does not exist is
    its own path. Raises `InputError` for documents of another kind and for items without the asset.
    """
    paths = [path_of(uri, access) for uri in uris]
    missing = tuple(path for path in paths if not path.exists())
    if missing:
        return {(): missing}
    stamps = tuple(map(version_of, paths))
    found = _assets(tuple(paths), stamps, asset, access)
    if period and len({time for time, _ in found}) > 1:
        early, late = period[0] - timedelta(spare[0]), period[1] + timedelta(spare[1])
        found = tuple(one for one in found if early <= one[0].date() <= late) or found
    times = {time for time, _ in found}
    length = 3 if all(time.time() == datetime.min.time() for time in times) else 6
    series: dict[Step, tuple[Any, ...]] = {}
    for time, path in found:
        step = tuple(time.timetuple()[:length]) if len(times) > 1 else ()
        series[step] = (*series.get(step, ()), path)
    return series


@lru_cache(maxsize=64)
def _assets(
    paths: tuple[AnyPath, ...], stamps: tuple[tuple[int, ...], ...], asset: str, access: Access
) -> tuple[tuple[datetime, AnyPath], ...]:
    """Return time and path of each item's asset, in the order of time."""
    seen: set[AnyPath] = set()
    found = [one for path in paths for one in _of_document(path, asset, access, seen)]
    if not found:
        raise bad_input(str(paths[0]), "no items", f'items with an asset "{asset}"')
    return tuple(sorted(found, key=lambda one: one[0]))


def _of_document(
    path: AnyPath, asset: str, access: Access, seen: set[AnyPath]
) -> Iterator[tuple[datetime, AnyPath]]:  # fmt: skip
    if path in seen:  # catalogs may link to each other
        return
    seen.add(path)
    try:
        document = json.loads(path.read_bytes())
        kind = document.get("type")
    except (FileNotFoundError, ValueError, AttributeError) as error:
        raise bad_input(str(path), f"no such document ({error})", KINDS) from None
    if kind == "Feature":
        yield _of_item(document, path, asset, access)
    elif kind == "FeatureCollection":
        yield from (_of_item(item, path, asset, access) for item in document.get("features", ()))
        for href in _next_pages(document, path):
            yield from _of_document(_beside(path, href, access), asset, access, seen)
    elif kind in ("Collection", "Catalog"):
        hrefs = _hrefs(document, "item", "child") or _hrefs(document, "items")
        beneath = [_beside(path, href, access) for href in hrefs]
        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(
                lambda one: list(_of_document(one, asset, access, seen)), beneath
            ):
                yield from found
    else:
        raise bad_input(str(path), f'a document of type "{kind}"', KINDS)


def _hrefs(document: dict[str, Any], *relations: str) -> list[str]:
    """Return the addresses of the links of some relations."""
    return [str(link["href"]) for link in document.get("links", ())
            if link.get("rel") in relations and link.get("href")]  # fmt: skip


def _next_pages(document: dict[str, Any], path: AnyPath) -> list[str]:
    """Return the address of the next page of a list of items, of which a search has only one.

    Raises `InputError` for pages that are only sent in answer to another search.
    """
    links = [link for link in document.get("links", ()) if link.get("rel") == "next"]
    if any(link.get("method", "GET").upper() != "GET" for link in links):
        raise bad_input(
            str(path), "one page of a list of items, whose next one a search by POST returns",
            "all items", "Write the items of all pages into one list, as pystac-client does.",
        )  # fmt: skip
    return _hrefs(document, "next")


def _of_item(
    document: dict[str, Any], path: AnyPath, asset: str, access: Access
) -> tuple[datetime, AnyPath]:
    import pystac

    try:
        item = pystac.Item.from_dict(document)
    except Exception as error:  # pystac raises errors without a common class
        raise bad_input(str(path), f"no valid item ({error})", KINDS) from None
    where = f"{path}: item {item.id}"
    if asset not in item.assets:
        names = list(item.assets)
        found = f"assets {', '.join(names) or 'none'}"
        raise bad_input(where, found, f'an asset "{asset}"', nearest_name(asset, names))
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise bad_input(where, "no time", "`datetime` or `start_datetime`")
    plain = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    return plain, _beside(path, item.assets[asset].href, access)


def _beside(path: AnyPath, href: str, access: Access) -> AnyPath:
    """Return the path of an address in a document, which may be relative to the document."""
    if is_remote(href):
        return path_of(href, access)
    query = ""
    if isinstance(path, RemotePath) and path.is_web:
        href, _, query = href.partition("#")[0].partition("?")
    plain = path_of(href)
    assert isinstance(plain, Path)
    if isinstance(path, Path):
        found = (path.parent / plain).resolve()
        named = (path.parent / unquote(href)).resolve()
        return named if not found.exists() and named.exists() else found
    if plain.is_absolute():
        raise bad_input(
            str(path), f"a path on disk, {plain}", "addresses of assets",
            "Copy the document to this disk if its assets are here.",
        )  # fmt: skip
    base, folder = path.parent, list(plain.parts)
    while folder[:1] == [".."]:
        base, folder = base.parent, folder[1:]
    remote = base / "/".join(folder)
    return replace(remote, query=query) if query and isinstance(remote, RemotePath) else remote
