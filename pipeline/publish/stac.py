"""STAC collection beside the maps, with one item per product and relative links.

Bands are described by the STAC 1.1 core, whose schemas `pystac` contains. It would fetch the schema
of the projection extension, so that the fields written here are checked against a schema of this
module instead: validation needs no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pystac
import rasterio
import xarray as xr
from pystac.extensions.projection import SCHEMA_URI as PROJECTION
from pystac.extensions.projection import ProjectionExtension
from pystac.validation import validate_dict
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import make_folder, write_bytes
from pipeline.grid.footprint import footprint, union_box
from pipeline.grid.target_grid import TargetGrid
from pipeline.times.periods import time_coverage

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_PROJECTION_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": PROJECTION,
    "type": "object",
    "required": ["stac_extensions", "properties"],
    "properties": {
        "stac_extensions": {"contains": {"const": PROJECTION}},
        "properties": {
            "required": ["proj:code", "proj:shape", "proj:transform", "proj:bbox"],
            "properties": {
                "proj:code": {"type": ["string", "null"], "pattern": r"^[^:]+:[^:]+$"},
                "proj:projjson": {"type": "object", "required": ["type"]},
                "proj:shape": {
                    "type": "array", "items": {"type": "integer", "minimum": 1},
                    "minItems": 2, "maxItems": 2,
                },
                "proj:transform": {**_NUMBERS, "minItems": 6, "maxItems": 6},
                "proj:bbox": {**_NUMBERS, "minItems": 4, "maxItems": 4},
            },
            # Without a code, the whole CRS is required.
            "if": {"properties": {"proj:code": {"type": "null"}}},
            "then": {"required": ["proj:projjson"]},
        },
    },
}  # fmt: skip

COLLECTION = "collection.json"
ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    ".tif": (pystac.MediaType.COG, ("data",)),
    ".zarr": (pystac.MediaType.ZARR, ("data",)),
    ".png": (pystac.MediaType.PNG, ("thumbnail", "overview")),
    ".qml": (pystac.MediaType.XML, ("style",)),
    ".gpkg": (pystac.MediaType.GEOPACKAGE, ("data",)),
}


@dataclass(frozen=True, kw_only=True)
class StacItem:
    """One product: its id, grid, files, and the first and last second of its time."""

    id: str
    title: str
    grid: TargetGrid
    files: Mapping[str, Path]
    """Path of each asset by its key, such as `soil_moisture`, `soil_moisture_style`."""
    time: np.ndarray = field(default_factory=lambda: np.array([], "datetime64[s]"))
    """First and last second (see `times_of`); of maps without dates, those of their inputs."""
    description: str = ""


def times_of(da: xr.DataArray | xr.Dataset) -> np.ndarray:
    """First and last second of the period of a map; empty where it has no time axis."""
    if "time" not in da.coords or "time" not in da.dims:
        return np.array([], "datetime64[s]")
    return np.array(time_coverage(da["time"]))


def write_collection(folder: str | Path, items: Sequence[StacItem], **settings: Any) -> Path:
    """Write `collection.json` and one `<item>.json` beside the maps; returns the collection's path.

    Further arguments and errors are those of `collection_documents`.
    """
    documents = collection_documents(folder, items, **settings)
    make_folder(Path(folder))
    for name, document in documents.items():
        _write(Path(folder) / name, document)
    return Path(folder) / COLLECTION


def collection_documents(
    folder: str | Path,
    items: Sequence[StacItem],
    *,
    id: str,
    title: str,
    description: str,
    licence: str = "other",
    keywords: Iterable[str] = (),
    summaries: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """The JSON documents of a collection of maps and of its items, by file name.

    Files must lie in `folder`: all links are relative to it. The documents do not depend on the
    time of writing. `InputError` where there is no item, a file is missing or an item has no time;
    pystac's error where the result is not valid STAC.
    """
    folder = Path(folder)
    _check_items(folder, items)
    made = [_item(folder, item) for item in items]
    union = union_box([item.bbox for item in made if item.bbox])
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
    root = folder / COLLECTION
    collection.set_self_href(str(root))
    for item in made:
        item.set_self_href(str(folder / f"{item.id}.json"))
        item.make_asset_hrefs_relative()
    validator = _validator()
    for made_one in (collection, *made):
        made_one.validate(validator)
    documents = {f"{item.id}.json": item.to_dict(include_self_link=False) for item in made}
    return {**documents, COLLECTION: collection.to_dict(include_self_link=False)}


def validate_collection(path: str | Path) -> int:
    """Validate a collection and all its items on disk, without a network; returns their number.

    Raises pystac's error where one is not valid, `ValueError` where one is not a JSON object.
    """
    # The JSON itself is validated, because pystac's objects add missing fields.
    collection, validator = read_document(path), _validator()
    validate_dict(collection, validator=validator)
    links = [link for link in collection["links"] if link["rel"] == "item"]
    for link in links:
        validate_dict(read_document(Path(path).parent / link["href"]), validator=validator)
    return len(links)


def read_document(path: str | Path) -> dict[str, Any]:
    """The JSON object of a STAC file; `ValueError` where it is not one."""
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a JSON {type(found).__name__}, not an object")
    return found


def _validator() -> JsonSchemaSTACValidator:
    """The validator of pystac, with the schema of the extension, so that it fetches nothing."""
    validator = JsonSchemaSTACValidator()
    validator.schema_cache[PROJECTION] = _PROJECTION_SCHEMA
    return validator


def _check_items(folder: Path, items: Sequence[StacItem]) -> None:
    faults = Faults()
    if not items:
        faults.add(str(folder), "no product", "at least one item of a collection")
    for item in items:
        for key, path in item.files.items():
            if not Path(path).exists():
                faults.add(str(path), "no such file", f"the asset {key} of item {item.id}")
        if not item.time.size:
            faults.add(f"item {item.id}", "no time", "the first and last second of its period")
    faults.raise_if_any()


def _moment(time: np.datetime64) -> datetime:
    seconds = int(time.astype("datetime64[s]").astype(np.int64))
    return datetime.fromtimestamp(seconds, UTC)


def _interval(item: StacItem) -> tuple[datetime, datetime]:
    return _moment(item.time.min()), _moment(item.time.max())


def _add_projection(item: pystac.Item, grid: TargetGrid) -> None:
    """Add the grid in fields of the projection extension; the whole CRS where it has no code."""
    has_code = re.fullmatch(r"[A-Za-z]\w*:\w+", grid.crs) is not None
    ProjectionExtension.ext(item, add_if_missing=True).apply(
        code=grid.crs if has_code else None,
        projjson=None if has_code else pyproj.CRS.from_user_input(grid.crs).to_json_dict(),
        shape=list(grid.shape),
        transform=[float(v) for v in grid.transform[:6]],
        bbox=[float(v) for v in grid.bounds],
    )


def _item(folder: Path, item: StacItem) -> pystac.Item:
    geometry, box = footprint(item.grid)
    start, end = _interval(item)
    made = pystac.Item(
        id=item.id,
        geometry=geometry,
        bbox=box,
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties={
            "title": item.title,
            **({"description": item.description} if item.description else {}),
        },
    )
    _add_projection(made, item.grid)
    for key, path in item.files.items():
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
    """Name, unit, type, nodata value and statistics of each band, from the tags of the file."""
    described = []
    try:
        opened = rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise bad_input(str(path), f"unreadable ({error})", "a readable map") from None
    with opened as raster:
        for number in raster.indexes:
            nodata = raster.nodatavals[number - 1]
            tags = raster.tags(number)
            statistics = {
                key: float(tags[tag])
                for key in ("minimum", "maximum", "mean", "stddev")
                if (tag := f"STATISTICS_{key.upper()}") in tags
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
