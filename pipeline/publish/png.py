"""PNG previews of maps in the legend's colours, optionally with outlines, in up to four panels.

They draw a reduced copy, means of whole blocks of cells, so that a large map costs no more than a
small one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.files import replacing
from pipeline.grid.crs import crs_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import NODATA_CODE, Legend
from pipeline.publish.bands import names_of_bands
from pipeline.readers.guards.vectors import check_vector

if TYPE_CHECKING:
    from geopandas import GeoSeries
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 4
CELLS = 1600  # along the longer side of a panel
LENGTH = 120
"""Maximum number of characters of a title or label; a longer one would widen the picture."""
_INK, _SEA = "#3d4650", "#f4f6f8"


def write_preview(
    png: str | Path,
    da: xr.DataArray,
    legend: Legend,
    title: str,
    *,
    outlines: str | Path | GeoSeries | None = None,
    bands: Sequence[int] | None = None,
    width: float = 10.0,
) -> Path:
    """Draw a map, dims (time, y, x) or (y, x), whole or not at all; `width` in inches.

    `bands` (from 0) are those to show, by default up to four evenly through the series (January,
    April, July, October of a year). `outlines` is a vector file or a GeoSeries with a CRS.
    `InputError` for bands that do not exist.
    """
    with plain_texts(), replacing(Path(png)) as partial:
        figure = _preview(da, legend, title, read_outlines(outlines, da), _bands(da, bands), width)
        # Without a software tag, equal maps produce equal files.
        figure.savefig(partial, format="png", dpi=130, metadata={"Software": ""})
    return Path(png)


def png_bytes(figure: Figure) -> bytes:
    """Return a figure as a PNG file, cut to what is drawn; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight", metadata={"Software": ""})
    return buffer.getvalue()


@contextmanager
def plain_texts() -> Iterator[None]:
    """Draw texts as they are, where matplotlib would read `$` as the beginning of a formula."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def short_text(text: str) -> str:
    """The text on one line, cut after `LENGTH` characters."""
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else f"{line[: LENGTH - 1]}…"


def _preview(
    da: xr.DataArray,
    legend: Legend,
    title: str,
    lines: Sequence[np.ndarray],
    shown: Sequence[int | None],
    width: float,
) -> Figure:
    """The figure with the bands `shown`, `lines` over them, and the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = names_of_bands(da)
    rows, cols = (1, 1) if len(shown) == 1 else (-(-len(shown) // 2), 2)
    height = width / cols * da.sizes["y"] / da.sizes["x"] * rows + 1.25
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, cols, squeeze=False).ravel()
    for axis in axes[len(shown) :]:
        axis.remove()
    for axis, band in zip(axes, shown, strict=False):
        draw_map(axis, da if band is None else da.isel({da.dims[0]: band}), legend, lines)
        if band is not None:
            axis.set_title(short_text(names[band]), fontsize=10, color=_INK, loc="left")
    figure.suptitle(short_text(title), fontsize=12, color=_INK, x=0.01, ha="left")
    add_key(figure, list(axes[: len(shown)]), legend)
    return figure


def draw_map(
    axis: Axes, da: xr.DataArray, legend: Legend, outlines: Sequence[np.ndarray] = ()
) -> None:
    """Draw one band, dims (y, x), and lines (n, 2) into axes in the map's own CRS."""
    from matplotlib.collections import LineCollection

    values = reduced(da, CELLS)
    grid = TargetGrid.like(da, "preview")
    west, south, east, north = grid.bounds
    axis.set_facecolor(_SEA)
    axis.imshow(
        np.ma.masked_invalid(values), extent=(west, east, south, north), cmap=legend.colormap,
        norm=legend.norm, interpolation="nearest", aspect="auto",
    )  # fmt: skip
    if outlines:
        axis.add_collection(LineCollection(outlines, colors=_INK, linewidths=0.35))
    axis.set(xlim=(west, east), ylim=(south, north), xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color("#c8d0d8")


def add_key(figure: Figure, axes: list[Axes], legend: Legend) -> None:
    """Add the legend below the panels: a colour bar, or a patch for each class."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.patches import Patch

    if legend.kind == "continuous":
        bar = figure.colorbar(
            ScalarMappable(legend.norm, legend.colormap), ax=axes, orientation="horizontal",
            fraction=0.04, pad=0.02, shrink=0.6, extend="max",
        )  # fmt: skip
        bar.set_label(short_text(f"{legend.title} ({legend.units})"), fontsize=9, color=_INK)
        bar.ax.tick_params(labelsize=8, colors=_INK)
        bar.outline.set_visible(False)
        return
    patches = [Patch(color=stop.colour, label=short_text(stop.label)) for stop in legend.stops]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=min(4, len(patches)), fontsize=8,
        frameon=False,
    )  # fmt: skip


def read_outlines(outlines: str | Path | GeoSeries | None, da: xr.DataArray) -> list[np.ndarray]:
    """Boundaries as lines of points (n, 2) in the map's CRS, clipped to its surroundings.

    `InputError` for a missing file.
    """
    if outlines is None:
        return []
    import geopandas

    if isinstance(outlines, (str, Path)):
        if not Path(outlines).exists():
            raise bad_input(str(outlines), "no such file", "a vector file of outlines")
        check_vector(Path(outlines), str(outlines), trust=False)
        shapes: GeoSeries = geopandas.read_file(outlines).geometry
    else:
        shapes = outlines
    grid = TargetGrid.like(da, "preview")
    if not grid.is_geographic:
        # Clipped in degrees first: distant vertices may not exist in a regional projection.
        lon, lat = grid.lonlat()
        finite = np.isfinite(lon) & np.isfinite(lat)
        west, east = lon[finite].min() - 2, lon[finite].max() + 2
        south, north = lat[finite].min() - 2, lat[finite].max() + 2
        shapes = shapes.to_crs("EPSG:4326").clip((west, south, east, north))
    lines = shapes.to_crs(crs_of(da)).boundary.explode()
    return [np.asarray(line.coords)[:, :2] for line in lines if line is not None and line.coords]


def reduced(da: xr.DataArray, cells: int) -> np.ndarray:
    """A band, dims (y, x), of at most `cells` cells a side: means of blocks, or every n-th code."""
    step = -(-max(da.shape) // cells)
    if da.dtype.kind != "f":
        codes = np.asarray(da[::step, ::step].values)
        return np.where(codes == NODATA_CODE, np.nan, codes.astype(np.float32))
    if step == 1:
        return np.asarray(da.values)
    return np.concatenate([_block_means(da[i : i + 64 * step], step)
                           for i in range(0, da.shape[0], 64 * step)])  # fmt: skip


def _block_means(da: xr.DataArray, step: int) -> np.ndarray:
    pad = [(0, -n % step) for n in da.shape]
    block = np.pad(np.asarray(da.values, np.float32), pad, constant_values=np.nan)
    parts = block.reshape(block.shape[0] // step, step, block.shape[1] // step, step)
    count = (~np.isnan(parts)).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        return np.nansum(parts, axis=(1, 3)) / np.where(count, count, np.nan)


def _bands(da: xr.DataArray, bands: Sequence[int] | None) -> list[int | None]:
    if da.ndim == 2:
        return [None]
    count = da.shape[0]
    if bands is not None:
        wrong = [band for band in bands if not 0 <= band < count]
        if wrong or not bands:
            raise bad_input("preview bands", str(list(bands)), f"numbers from 0 to {count - 1}")
        return list(bands)
    if count <= PANELS:
        return list(range(count))
    return [int(i) for i in np.arange(PANELS) * count // PANELS]
