"""Products of providers on this machine, and the orders of their sources."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import yaml

from pipeline.fetch.client import Client
from pipeline.fetch.order import Order, make_order

ABOUT = {
    "title": "Rain", "provider": "nobody", "licence": "CC0", "reference": "none", "version": "1",
    "keywords": ["rain"], "resolution": "1 degree", "region": "all",
}  # fmt: skip
YEARS = (date(2001, 1, 1), date(2003, 12, 31))


def written(folder: Path, get: dict[str, Any], static: bool = False, **entry: Any) -> Path:
    """Write the catalog of a product `rain` with one source of that name, and return its path."""
    catalog = folder / "rain.yml"
    about: dict[str, Any] = {**ABOUT, "get": {"rain": get}}
    if not static:
        about["period"] = ["2000-01-01", None]
    source = {
        "uri": "${data}/rain/rain_{year}.nc", "driver": "netcdf", "time": {"years": [2000, 2020]},
        "variables": {"precipitation": {"name": "rain"}}, **entry,
    }  # fmt: skip
    if static:
        source |= {"uri": "${data}/rain/rain.nc", "time": {}}
    catalog.write_text(yaml.safe_dump({"product": about, "rain": source}))
    return catalog


def ordered(folder: Path, get: dict[str, Any], entry: Any = None, **wanted: Any) -> Order:
    """The order for the source of a product with that download, into `folder/data`."""
    static = wanted.pop("static", False)
    catalog = written(folder, get, static, **(entry or {}))
    if not static:
        wanted.setdefault("period", YEARS)
    return make_order("rain", folder / "data", catalog=str(catalog), **wanted)


def fast(**options: Any) -> Client:
    """A client that does not space its requests."""
    return Client(**{"rate": 1e6, **options})
