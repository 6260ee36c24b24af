"""A picture of a source: `stefaland catalog show CATALOG SOURCE --map FILE.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import bad_input
from pipeline.core.files import write_bytes
from pipeline.entries.source import Source
from pipeline.publish.png import plain_texts, png_bytes, short_text
from pipeline.readers.common.dims import cell_size
from pipeline.readers.registry import driver_of
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source

MOST = 1024
"""Cells drawn along an axis; of larger sources every so many."""


@plain_texts()
def draw_source(source: Source, path: Path) -> str:
    """Write a map of the first variable of a source, at its middle time, to a PNG file.

    Values are canonical, in the CRS of the source; sites are points. Returns what is drawn. Raises
    `InputError` for a source without a field: networks, polygons and unstructured grids.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    name = next(iter(source.variables))
    field, at = _field(source, name)
    units = short_text(str(field.attrs.get("units", "")))
    figure = Figure(figsize=(9.0, 5.0))
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    title = short_text(f"{name if name == source.name else f'{name} of {source.name}'}{at}")
    if "cell" in field.dims:
        drawn: Any = axis.scatter(field["lon"], field["lat"], c=field, s=12)
        axis.set(title=title, xlabel="longitude", ylabel="latitude")
    else:
        x, y = field["x"].values, field["y"].values
        half_x, half_y = (cell_size(v) / 2 for v in (x, y))
        extent = (x[0] - half_x, x[-1] + half_x, y[-1] - half_y, y[0] + half_y)
        drawn = axis.imshow(field.values, extent=extent, interpolation="nearest")
        axis.set(title=title, xlabel=source.crs, ylabel="north")
    bar = figure.colorbar(drawn, ax=axis, label=units, shrink=0.8)
    if labels := [short_text(label) for label in source.classes or ()]:
        bar.set_ticks(range(len(labels)), labels=labels)
    write_bytes(path, [png_bytes(figure)])
    return f"{name}{at}"


def _field(source: Source, name: str) -> tuple[xr.DataArray, str]:
    """Return one field of a variable in memory, dims (y, x) or (cell,), and a text on its time."""
    expected, returns = "a source of a grid or of sites", driver_of(source).returns
    if source.merge:
        return _field(source.members[0], name)
    if returns not in ("grid", "sites"):
        raise bad_input(f'source "{source.name}"', f"a source of {returns}", expected)
    ds = canonicalise(open_source(source), source, read_variables())
    da, at = ds[name], ""
    if "time" in da.dims:
        middle = da.sizes["time"] // 2
        at = f" at time {middle + 1} of {da.sizes['time']}, {str(da['time'].values[middle])[:10]}"
        da = da.isel(time=middle)
    if da.dims not in (("y", "x"), ("cell",)):
        raise bad_input(f'source "{source.name}"', f"dims {', '.join(map(str, da.dims))}", expected)
    if da.dims == ("y", "x"):
        da = da.isel({dim: slice(None, None, -(-da.sizes[dim] // MOST)) for dim in ("y", "x")})
    return da.astype(np.float32).load(), at
