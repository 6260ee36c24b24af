"""`Driver`: the description of a reader, which each module of this room defines for its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.settings import Frozen
from pipeline.core.transfers import Access
from pipeline.entries.source import Source


def _files_of_uri(source: Source) -> list[Path]:
    return source.files


class CommonOptions(Access):
    """Options of an entry that do not depend on its driver."""

    trust: bool = False
    """Whether files that lead to others outside of their own folder are read: VRTs and other
    documents of GDAL, links of HDF5, references and symbolic links of Zarr, items of STAC."""
    asset: str | None = None
    """Name of the assets of STAC items that are the files of the entry."""


class NoOptions(Frozen):
    """Options of a driver that has none of its own."""


def own_options(source: Source) -> dict[str, Any]:
    """Return the options of an entry for its driver, without those common to all drivers."""
    return {k: v for k, v in source.options.items() if k not in CommonOptions.model_fields}


def common_options(source: Source) -> CommonOptions:
    """Return the options of an entry that do not depend on its driver."""
    own = own_options(source)
    return CommonOptions.model_validate({k: v for k, v in source.options.items() if k not in own})


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The location of a file's cells: bounds (west, south, east, north), cell size and shape."""

    crs: str
    """CRS as WKT; empty if the file has none."""
    bounds: tuple[float, float, float, float]
    cell: tuple[float, float]
    shape: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A reader: the function that opens the files of a catalog entry, and properties of the format.

    `open` takes a `Source` and returns an `xr.Dataset` of its variables under their file names:
    values unpacked or with `scale_factor`, `add_offset` and `_FillValue` in the attributes, `units`
    there too. A grid has dims as in the file and is best lazy; sites have dims (time, cell) or
    (cell,) and coordinates `cell`, `site`, `lat` and `lon`. A network's `open` also takes the
    canonical variables and returns sites in canonical units with a coordinate `group`; that of
    polygons returns a GeoDataFrame in EPSG:4326 (`sources.polygons` reads those of `vector` as
    cells). `open` raises `InputError` for files that it cannot read.
    """

    name: str
    """Value of `driver` in a catalog entry."""
    open: Callable[..., Any]
    returns: Literal["grid", "sites", "network", "polygons"] = "grid"
    """Kind of data that `open` returns."""
    is_series: bool = False
    """Whether a source may have many files, with {year}, {month} or {day} in the uri."""
    needs: tuple[Literal["lat", "lon", "cell"], ...] = ()
    """Keys that an entry must have, in addition to `variables` of a grid or of sites."""
    options: type[Frozen] | None = None
    """Model of the entry's `options`; with None, as of a plugin without a model, any options are
    accepted."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Optional modules that the reader imports → the requirement with which pip installs each."""
    files: Callable[[Source], list[Path]] = _files_of_uri
    """Function that lists the files and folders that must exist before the source is opened."""
    is_lazy: bool = True
    """Whether a part of a grid can be read without the rest of the file."""
    names_crs: bool = False
    """Whether valid files always declare their CRS in full, so that a missing CRS is a fault."""
    outline: Callable[[Path], Outline | None] | None = None
    """Function that returns where the cells of a file lie, faster than `open` does for a mosaic of
    thousands; None of a file for which only `open` can."""

    is_remote: bool = True
    """Whether files may be at remote addresses; not where the uri is a folder that is searched."""

    @property
    def has_variables(self) -> bool:
        """Whether `open` returns the variables of the entry, as for a grid or sites."""
        return self.returns in ("grid", "sites")
