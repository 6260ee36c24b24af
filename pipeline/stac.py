"""A STAC collection beside the maps: one item a product, relative links, valid without a network.

Upstream: the published files. Only the STAC 1.1 core is declared, whose schemas `pystac` brings
along; the `proj:` fields follow the projection extension and readers use them undeclared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr

from pipeline.atomic import make_folder, write_bytes
from pipeline.grid import TargetGrid
from stefaland.errors import bad_input

COG = pystac.MediaType.COG
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    ".tif": (str(COG), ("data",)),
    ".zarr": ("application/vnd+zarr", ("data",)),
    ".png": ("image/png", ("thumbnail", "overview")),
    ".qml": ("application/xml", ("style",)),
    ".gpkg": ("application/geopackage+sqlite3", ("data",)),
}


@dataclass(frozen=True)
class StacItem:
    """One product: an id, its grid, its times (datetime64; empty where it has none), its files."""

    id: str
    title: str
    grid: TargetGrid
    files: Mapping[str, Path]
    """Path of each asset by its key, such as `soil_moisture`, `soil_moisture_style`."""
    time: np.ndarray = field(default_factory=lambda: np.array([], "datetime64[s]"))
    description: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


def times_of(da: xr.DataArray) -> np.ndarray:
    """The map's dates; empty where it has no time axis."""
    return da["time"].values if "time" in da.dims else np.array([], "datetime64[s]")


def write_collection(
    folder: str | Path,
    items: Sequence[StacItem],
    *,
    id: str,
    title: str,
    description: str,
    licence: str = "other",
    keywords: Iterable[str] = (),
    summaries: Mapping[str, Any] | None = None,
) -> Path:
    """Write `collection.json` and one `<item>.json` beside the maps; gives the collection's path.

    Files must lie in `folder`: all links are relative to it. Nothing depends on the clock.
    `InputError` where there is no item or a file is missing; raises pystac's error where the
    result is not valid STAC.
    """
    folder = Path(folder)
    if not items:
        raise bad_input(str(folder), "no product", "at least one item of a collection")
    made = [_item(folder, item) for item in items]
    boxes = np.array([item.bbox for item in made])
    union = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    intervals = [_interval(item) for item in items]
    interval = [min(first for first, _ in intervals), max(last for _, last in intervals)]
    collection = pystac.Collection(
        id=id,
        title=title,
        description=description,
        license=licence,
        catalog_type=pystac.CatalogType.SELF_CONTAINED,
        keywords=list(keywords) or None,
        extent=pystac.Extent(
            pystac.SpatialExtent([[float(v) for v in union]]),
            pystac.TemporalExtent([[*interval]]),
        ),
        summaries=pystac.Summaries(dict(summaries)) if summaries else None,
    )
    collection.add_items(made)
    make_folder(folder)
    root = folder / "collection.json"
    collection.set_self_href(str(root))
    for item in made:
        item.set_self_href(str(folder / f"{item.id}.json"))
        item.make_asset_hrefs_relative()
        item.validate()
    collection.validate()
    for item in made:
        _write(folder / f"{item.id}.json", item.to_dict(include_self_link=False))
    _write(root, collection.to_dict(include_self_link=False))
    return root


def validate_collection(path: str | Path) -> int:
    """Validate a collection and all its items as they lie on disk; gives the number of items.

    Raises pystac's error where one is not valid; needs no network.
    """
    collection = pystac.Collection.from_file(str(path))
    collection.validate()
    items = list(collection.get_items())
    for item in items:
        item.validate()
    return len(items)


def footprint(grid: TargetGrid) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON polygon of the grid's outline in degrees, and its (west, south, east, north) box."""
    import pyproj

    west, south, east, north = grid.bounds
    if grid.is_geographic:
        x, y = np.array([west, east, east, west]), np.array([south, south, north, north])
        box = [west, south, east, north]
    else:
        to_lonlat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
        box = [float(v) for v in to_lonlat.transform_bounds(*grid.bounds, densify_pts=101)]
        along = np.linspace(0, 1, 16, endpoint=False)
        xs = np.concatenate([west + (east - west) * along, np.full(16, east),
                             east - (east - west) * along, np.full(16, west)])  # fmt: skip
        ys = np.concatenate([np.full(16, south), south + (north - south) * along,
                             np.full(16, north), north - (north - south) * along])  # fmt: skip
        x, y = (np.asarray(v) for v in to_lonlat.transform(xs, ys))
    ring = [[round(float(a), 7), round(float(b), 7)] for a, b in zip(x, y, strict=True)]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, [round(v, 7) for v in box]


def _moment(time: np.datetime64) -> datetime:
    seconds = int(time.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC)


_UNDATED = datetime(2000, 1, 1, tzinfo=UTC)


def _interval(item: StacItem) -> tuple[datetime, datetime]:
    if not item.time.size:
        return _UNDATED, _UNDATED
    return _moment(item.time.min()), _moment(item.time.max())


def _item(folder: Path, item: StacItem) -> pystac.Item:
    geometry, box = footprint(item.grid)
    start, end = _interval(item)
    single = start == end
    made = pystac.Item(
        id=item.id,
        geometry=geometry,
        bbox=box,
        datetime=start if single else None,
        start_datetime=None if single else start,
        end_datetime=None if single else end,
        properties={
            "title": item.title,
            **({"description": item.description} if item.description else {}),
            "proj:code": item.grid.crs if ":" in item.grid.crs[:8] else None,
            "proj:shape": list(item.grid.shape),
            "proj:transform": [float(v) for v in item.grid.transform[:6]],
            "proj:bbox": [float(v) for v in item.grid.bounds],
            **item.properties,
        },
    )
    for key, path in item.files.items():
        if not Path(path).exists():
            raise bad_input(str(path), "no such file", f"the asset {key} of item {item.id}")
        media, roles = ROLES.get(Path(path).suffix, ("application/octet-stream", ("metadata",)))
        bands = {"bands": _bands(Path(path))} if Path(path).suffix == ".tif" else {}
        made.add_asset(
            key,
            pystac.Asset(
                href=str(Path(path).resolve().relative_to(folder.resolve())),
                media_type=media,
                roles=list(roles),
                title=Path(path).name,
                extra_fields=bands,
            ),
        )
    return made


def _bands(path: Path) -> list[dict[str, Any]]:
    """Name, unit, type, nodata and statistics of each band, from the file's own tags."""
    described = []
    with rasterio.open(path) as raster:
        for number in raster.indexes:
            nodata = raster.nodatavals[number - 1]
            tags = raster.tags(number)
            names = {"minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV"}
            statistics = {
                key: float(tags[f"STATISTICS_{tag}"])
                for key, tag in names.items()
                if f"STATISTICS_{tag}" in tags
            }
            described.append(
                {
                    "name": raster.descriptions[number - 1] or f"band {number}",
                    "data_type": raster.dtypes[number - 1],
                    "nodata": "nan" if nodata is not None and np.isnan(nodata) else nodata,
                    **({"unit": raster.units[number - 1]} if raster.units[number - 1] else {}),
                    **({"statistics": statistics} if statistics else {}),
                }
            )
    return described


def _write(path: Path, value: Mapping[str, Any]) -> None:
    write_bytes(path, [(json.dumps(value, indent=2) + "\n").encode()])
