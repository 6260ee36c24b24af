"""Layers of a QGIS project: bands of maps with their times, sites, and groups of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio

from pipeline.maps.legend import Legend
from pipeline.publish.geopackage import Geometry

MAX_DATES = 62
"""Largest number of dates that are layers; of longer series, each month has one layer."""


@dataclass(frozen=True, kw_only=True)
class RasterLayer:
    """One band of a map; `begin` and `end` (datetime64, both included) where it has a date."""

    name: str
    path: Path
    legend: Legend
    band: int = 1
    begin: np.datetime64 | None = None
    end: np.datetime64 | None = None
    visible: bool = True


@dataclass(frozen=True, kw_only=True)
class SiteLayer:
    """A layer of a GeoPackage, coloured by a column of scores if it has a legend."""

    name: str
    path: Path
    table: str
    geometry: Geometry = "point"
    legend: Legend | None = None
    column: str | None = None
    visible: bool = True


@dataclass(frozen=True)
class LayerGroup:
    """Group of layers and groups under one name, the first on top."""

    name: str
    layers: tuple[RasterLayer | SiteLayer | LayerGroup, ...]
    visible: bool = True
    expanded: bool = True


def date_layers(path: str | Path, legend: Legend, visible: bool = True) -> list[RasterLayer]:
    """A layer for each band of a COG, named and dated by its tags.

    In a long series, the first band of each month that has values is the layer of the whole month,
    which limits the number of layers.
    """
    path = Path(path)
    with rasterio.open(path) as raster:
        names = [name or f"band {i}" for i, name in enumerate(raster.descriptions, start=1)]
        tags = [raster.tags(number) for number in raster.indexes]
    texts = [tag.get("time") for tag in tags]
    if len(names) == 1 or None in texts:
        return [
            RasterLayer(
                name=name, path=path, legend=legend, band=band, visible=visible and band == 1
            )
            for band, name in enumerate(names, start=1)
        ]
    times = np.array(texts, "datetime64[s]")
    chosen = np.arange(times.size)
    begins, ends = periods(times)
    if times.size > MAX_DATES:
        has_values = np.array(["STATISTICS_MINIMUM" in tag for tag in tags])
        chosen = np.flatnonzero(has_values) if has_values.any() else chosen
        months, first = np.unique(times[chosen].astype("datetime64[M]"), return_index=True)
        chosen = chosen[first]
        begins[chosen] = months.astype("datetime64[s]")
        ends[chosen] = (months + 1).astype("datetime64[s]") - np.timedelta64(1, "s")
    return [
        RasterLayer(
            name=names[i], path=path, legend=legend, band=i + 1, begin=begins[i], end=ends[i],
            visible=visible,
        )
        for i in chosen.tolist()
    ]  # fmt: skip


def periods(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last second of the period of each of ascending times; datetime64[s].

    Periods are whole months or years where times are that far apart, else until the next time.
    """
    months = times.astype("datetime64[M]").astype(int)
    steps = np.unique(np.diff(months))
    if steps.size == 1 and steps[0] in (1, 3, 12):
        step = int(steps[0])
        begins = months - (months % 12 if step == 12 else 0)
        edges = np.append(begins, begins[-1] + step).astype("datetime64[M]")
    else:
        gap = np.diff(times)[-1] if times.size > 1 else np.timedelta64(86400, "s")
        edges = np.append(times, times[-1] + gap)
    edges = edges.astype("datetime64[s]")
    return edges[:-1], edges[1:] - np.timedelta64(1, "s")


def map_group(
    name: str, maps: Sequence[tuple[str, Path, Legend]], visible: bool = True
) -> LayerGroup:
    """The group of one product, with a group for each of its maps (title, COG, legend).

    The dates of the first map are visible, those of the others hidden; a map of one band is named
    after its title.
    """
    groups = []
    for i, (title, path, legend) in enumerate(maps):
        layers = date_layers(path, legend)
        with rasterio.open(path) as raster:
            count = raster.count
        if count == 1:
            layers = [replace(layers[0], name=title)]
        elif len(layers) < count:
            title = f"{title}: one date a month"
        groups.append(LayerGroup(title, tuple(layers), visible=i == 0, expanded=i == 0))
    return LayerGroup(name, tuple(groups), visible=visible)


def leaves(
    groups: Sequence[RasterLayer | SiteLayer | LayerGroup], shown: bool = False
) -> Iterator[RasterLayer | SiteLayer]:
    """Yields the layers of nested groups in their order; with `shown`, only the visible ones."""
    for item in groups:
        if shown and not item.visible:
            continue
        if isinstance(item, LayerGroup):
            yield from leaves(item.layers, shown)
        else:
            yield item
