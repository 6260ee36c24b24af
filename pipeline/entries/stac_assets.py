"""asset_series(): the files that STAC items, collections or lists of items name as assets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from pipeline.core.addresses import Access, AnyPath, RemotePath, is_remote, path_of
from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.files import version_of
from pipeline.core.untrusted.links import check_link
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.entries.file_series import Period, Series, Step

THREADS = 16
TRUST = "Set `options: {trust: true}` if you trust whoever made the document."
KINDS = "an item, a collection or a list of items of STAC"


class Origin(NamedTuple):
    """The first document, which an entry names, and how those that it names are read."""

    access: Access
    trust: bool
    """Whether they may name files elsewhere on this disk and servers of this network."""
    document: AnyPath


def asset_series(
    uris: Sequence[str], asset: str, access: Access, period: Period | None,
    spare: tuple[int, int], trust: bool = False,
) -> Series:  # fmt: skip
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
    found = _assets(tuple(paths), stamps, asset, access, trust)
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
    paths: tuple[AnyPath, ...],
    stamps: tuple[tuple[int, ...], ...],
    asset: str,
    access: Access,
    trust: bool,
) -> tuple[tuple[datetime, AnyPath], ...]:
    """Return time and path of each item's asset, in the order of time."""
    seen: set[AnyPath] = set()
    origins = [Origin(access, trust, path) for path in paths]
    found = [one for origin in origins
             for one in _of_document(origin.document, asset, origin, seen)]  # fmt: skip
    if not found:
        raise bad_input(str(paths[0]), "no items", f'items with an asset "{asset}"')
    return tuple(sorted(found, key=lambda one: one[0]))


def _of_document(
    path: AnyPath, asset: str, origin: Origin, seen: set[AnyPath]
) -> Iterator[tuple[datetime, AnyPath]]:  # fmt: skip
    if path in seen:  # catalogs may link to each other
        return
    seen.add(path)
    try:
        document = parse_json(path.read_bytes())
        kind = document.get("type")
    except (FileNotFoundError, ValueError, AttributeError) as error:
        raise bad_input(str(path), f"no such document ({error})", KINDS) from None
    if kind == "Feature":
        yield _of_item(document, path, asset, origin)
    elif kind == "FeatureCollection":
        yield from (_of_item(item, path, asset, origin) for item in document.get("features", ()))
        for href in _next_pages(document, path):
            yield from _of_document(_beside(path, href, origin), asset, origin, seen)
    elif kind in ("Collection", "Catalog"):
        hrefs = _hrefs(document, "item", "child") or _hrefs(document, "items")
        beneath = [_beside(path, href, origin) for href in hrefs]
        with ThreadPoolExecutor(THREADS) as pool:
            for found in pool.map(
                lambda one: list(_of_document(one, asset, origin, seen)), beneath
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
    document: dict[str, Any], path: AnyPath, asset: str, origin: Origin
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
    return plain, _beside(path, item.assets[asset].href, origin)


def _beside(path: AnyPath, href: str, origin: Origin) -> AnyPath:
    """Return the path of an address in a document; `InputError` for one that it must not name."""
    try:
        found = _located(path, href, origin.access)
        if not origin.trust:
            check_link(str(found), str(path))
    except ValueError as error:
        raise bad_input(str(path), f"{error}", "addresses of assets", TRUST) from None
    if isinstance(found, Path) and not origin.trust:
        folder = Path(str(origin.document)).parent.resolve()
        if not found.is_relative_to(folder):
            raise bad_input(
                str(path), f"{found}, outside of the folder of the first document",
                "assets in this folder, or at remote addresses", TRUST,
            )  # fmt: skip
    return found


def _located(path: AnyPath, href: str, access: Access) -> AnyPath:
    """Return the path of an address in a document, which may be relative to the document."""
    if is_remote(href):
        return path_of(href, access)
    query = ""
    if isinstance(path, RemotePath) and path.is_web:
        href, _, query = href.partition("#")[0].partition("?")
    plain = path_of(href)
    if not isinstance(plain, Path):
        raise ValueError(f"{href}, a file in an archive")
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
