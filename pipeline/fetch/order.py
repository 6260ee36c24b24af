"""`Order`: what is to be fetched of which source, and `RemoteFile`: one file of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.catalog.catalog import read_catalog
from pipeline.catalog.downloads import AnyDownload, FilesDownload, template_keys
from pipeline.catalog.product import Product
from pipeline.core.addresses import public_uri
from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.packaged import catalog_path, packaged_products
from pipeline.entries.file_series import KEYS as TIME_KEYS
from pipeline.entries.file_series import has_glob
from pipeline.entries.source import Source

Bounds = tuple[float, float, float, float]
Period = tuple[date, date]


@dataclass(frozen=True, kw_only=True)
class Order:
    """A source to fetch, for a period (days), bounds (west, south, east, north) and variables."""

    source: Source
    name: str
    """Name of the product."""
    product: Product
    download: AnyDownload
    folder: Path
    """Data folder, for which `${data}` stands in the catalog."""
    period: Period | None = None
    bounds: Bounds | None = None
    variables: tuple[str, ...] = ()
    """Canonical names."""

    @property
    def home(self) -> Path:
        """Folder of the product, which holds its manifest."""
        return self.folder / self.name

    @property
    def to(self) -> str:
        """Template of paths below the data folder; one that ends with / is a folder."""
        if self.download.to is not None:
            return self.download.to
        uri = self.source.uris[0].removeprefix(f"{self.folder}/")
        return uri.rpartition("/")[0] + "/" if has_glob(uri) else uri


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to fetch: its address, its path, and what is known of it."""

    address: str
    path: Path
    login: str = "none"
    size: int | None = None
    checksum: str | None = None
    """Published checksum, `ALGORITHM:HEX`."""
    inputs: Mapping[str, Any] | None = None
    """Inputs of the job that makes the file, for which `address` takes requests."""
    unpack_into: Path | None = None

    @property
    def shown(self) -> str:
        """Address without its query, which may hold a secret."""
        return public_uri(self.address)

    @property
    def origin(self) -> str:
        """Digest of address and request, which decide the content."""
        text = self.address + json.dumps(self.inputs, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def partial(self) -> Path:
        """Path of the bytes fetched so far."""
        return self.path.with_name(f".{self.path.name}.fetching")


def product_of(source: str) -> str:
    """Return the packaged product to which a source belongs; its name begins with the product's.

    Raises `InputError` with the nearest name.
    """
    known = packaged_products()
    fitting = [name for name in known if source == name or source.startswith(f"{name}_")]
    if not fitting:
        raise bad_input(f'source "{source}"', "no product of this name",
                        "a source of a product that `stefaland catalog search` lists",
                        nearest_name(source, known))  # fmt: skip
    return max(fitting, key=len)


def make_order(
    source: str,
    folder: Path,
    *,
    catalog: str | None = None,
    period: Period | None = None,
    bounds: Bounds | None = None,
    variables: Sequence[str] = (),
) -> Order:
    """Return the order for a source of a packaged product, or of the product in a catalog file.

    Raises `InputError` with all faults: a source without download, a period that is missing or
    outside that of the product, bounds that do not meet it, and unknown variables.
    """
    file = catalog or product_of(source)
    found = read_catalog(file, data=folder)
    name, entry = catalog_path(file).stem, found[source]
    if name not in found.products or source not in found.products[name].get:
        sources = ", ".join(found.products[name].get if name in found.products else ())
        raise bad_input(f'{file}: source "{source}"', "no download under product.get",
                        f"one of {sources}" if sources else "a catalog of a product")  # fmt: skip
    product = found.products[name]
    download = product.get[source]
    order = Order(
        source=entry, name=name, product=product, download=download, folder=folder,
        period=period, bounds=bounds, variables=tuple(variables),
    )  # fmt: skip
    _check(order)
    return order


def _check(order: Order) -> None:
    faults, known = Faults(), [*(order.download.variables or order.source.variables)]
    for name in order.variables:
        if name not in known:
            faults.add("--variables", f'"{name}"', f"some of {', '.join(known)}",
                       nearest_name(name, known))  # fmt: skip
    if order.bounds is not None:
        west, south, east, north = order.bounds
        of = order.product.bounds
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            faults.add("--bounds", " ".join(map(str, order.bounds)),
                       "west, south, east, north in degrees, ascending, within -180 to 180",
                       _crossing_hint(order.bounds))  # fmt: skip
        elif not (west < of[2] and of[0] < east and south < of[3] and of[1] < north):
            expected = f"bounds that meet those of {order.name}, {' '.join(map(str, of))}"
            faults.add("--bounds", " ".join(map(str, order.bounds)), expected)
    _check_period(order, faults)
    faults.raise_if_any()


def _crossing_hint(bounds: Bounds) -> str:
    """Return what to do for bounds on both sides of 180°, or in degrees from 0 to 360."""
    west, south, east, north = bounds
    left, right = ((degrees + 180) % 360 - 180 for degrees in (west, east))
    if not (-180 <= west <= 360 and -180 <= east <= 360 and south < north):
        return ""
    if left < right:
        return f"Write {left:g} {south:g} {right:g} {north:g}." if west > 180 else ""
    return (
        "Bounds that cross 180° are two fetches into two folders, as with "
        f"--bounds {left:g} {south:g} 180 {north:g} --into data/west and "
        f"--bounds -180 {south:g} {right:g} {north:g} --into data/east; `merge` joins the two."
    )


def _check_period(order: Order, faults: Faults) -> None:
    available, period = order.product.period, order.period
    if order.download.kind == "manual":
        return
    if period is None:
        keys: set[str] = set()
        if isinstance(order.download, FilesDownload):
            keys = set().union(*map(template_keys, order.download.files))
        if available and (order.download.kind != "http" or keys & set(TIME_KEYS)):
            faults.add("--period", "nothing", "first and last day, month or year")
        return
    if period[0] > period[1]:
        faults.add("--period", f"{period[0]} to {period[1]}", "an ascending period")
    if available is None:
        faults.add("--period", f"{period[0]} to {period[1]}",
                   f"no period, because {order.name} does not change in time")  # fmt: skip
    elif period[0] < available[0] or (available[1] and period[1] > available[1]):
        faults.add("--period", f"{period[0]} to {period[1]}",
                   f"days from {available[0]} to {available[1] or 'now'}, of which "
                   f"{order.name} has data")  # fmt: skip
