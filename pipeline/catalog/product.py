"""`Product`: a data set as its provider publishes it, described beside the sources that read it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from pydantic import Field, model_validator

from pipeline.catalog.downloads import AnyDownload
from pipeline.core.settings import Frozen

PRODUCT = "product"
"""Name of the description in a catalog file."""
INHERITED = ("licence", "doi", "reference")
"""Keys that the sources of a catalog have from its product where they lack their own."""


class Product(Frozen):
    """The description of a product, under `product` in its catalog file.

    >>> from pipeline.catalog.catalog import read_catalog
    >>> product = read_catalog("chirps", data="data").products["chirps"]
    >>> product.resolution
    '0.05°, daily'
    """

    title: str
    provider: str
    licence: str
    doi: str | None = None
    """DOI of the data; that of the article belongs into `reference`."""
    reference: str
    version: str
    keywords: tuple[str, ...] = Field(min_length=1)
    resolution: str
    region: str
    bounds: tuple[float, float, float, float] = (-180.0, -90.0, 180.0, 90.0)
    """West, south, east and north, degrees."""
    period: tuple[date, date | None] | None = None
    """First and last day, the latter null for data that continue; null for static data."""
    latency: str = ""
    """Time until new data are published."""
    get: dict[str, AnyDownload] = Field(min_length=1)
    """Download of each source of the catalog, by its name."""
    notes: str = ""
    """Traps of the product: how each variable accumulates and is regridded, and why."""

    @model_validator(mode="after")
    def _consistent(self) -> Product:
        west, south, east, north = self.bounds
        if not (west < east and -90 <= south < north <= 90):
            raise ValueError("bounds that are not west, south, east, north")
        return self


def describes_product(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a catalog file is the description of its product, not a source."""
    return name == PRODUCT and not {"uri", "merge"} & set(entry)


def inherited(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the keys that the sources among the entries of a catalog have from their product."""
    product = entries.get(PRODUCT, {})
    if not describes_product(PRODUCT, product):
        return {}
    return {key: product[key] for key in INHERITED if product.get(key)}
