"""Catalog entries: `Source` of a data set, whose variables are those of `variable`.

What a driver requires of its entries is checked by `pipeline.readers.registry.check_entry`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pyproj
from pydantic import Field, field_serializer, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.core.addresses import Access, check_uri, path_of, public_uri
from pipeline.core.settings import Frozen, later
from pipeline.entries.extra_dims import Reduce, Select
from pipeline.entries.file_series import (
    MAX_STEPS,
    Pattern,
    Series,
    count_steps,
    series_files,
    series_keys,
)  # fmt: skip
from pipeline.entries.kinds import Code, kind_fault, labelled_codes, with_default_method
from pipeline.entries.merged import DRIVER, limited, merged_settings
from pipeline.entries.source_grid import OF_FILE, SourceGrid, with_grid
from pipeline.entries.source_variable import SourceVariable, check_codes
from pipeline.entries.stac_assets import asset_series
from pipeline.entries.values import Lookup, Operand
from pipeline.entries.variable import Variable
from pipeline.times.axis import TimeAxis

__all__ = ["Source", "SourceVariable", "Variable"]


class Source(Frozen):
    """A data set as delivered.

    `uri` is an address or a list of addresses. Each may contain `{year}`, `{month:02d}`,
    `{day:02d}`, `{doy:03d}` (day of the year) and `{hour:02d}` for a series of files, and `*`, `?`
    and `[..]` for all files whose names match; a folder stands for all of its data files.

    >>> entry = {"name": "gauges", "uri": "rain_{year}.nc", "driver": "netcdf",
    ...          "time": {"years": [2001, 2002]},
    ...          "variables": {"precipitation": {"name": "rain", "units": "mm/day"}}}
    >>> Source.model_validate(entry).method
    'conservative'
    """

    name: str
    uri: str | tuple[str, ...]
    driver: str
    """Name of the reader of its files."""
    variables: dict[str, SourceVariable] = Field(default_factory=dict)
    kind: Literal["continuous", "categorical", "cyclic"] = "continuous"
    """Kind of the values: quantities, classes, or directions and other values with a period."""
    method: str = "conservative"
    """Method of regridding; by default `fractions` for classes and `circular_mean` for values with
    a period."""
    period: float | None = later(None)
    """Period of cyclic values in canonical units, such as 24 for hours of the day; by default a
    full turn in degrees or radians, and 360 for values without units that exceed 31."""
    min_coverage: float = Field(0.5, ge=0, le=1)
    crs: str = "EPSG:4326"
    """CRS of the files; with `file` that which each file declares, as of tiles of UTM zones."""
    grid: SourceGrid | None = later(None)
    """Grid of files without coordinates: a name of `grids.yml`, such as EASE2_M09, or its keys
    (crs, bounds and resolution, …). The first row of the file is the northernmost."""
    resolution: tuple[float, float] | None = None
    """Cell size (dx, dy) in units of the CRS; it is compared with the file."""
    dims: dict[Literal["time", "y", "x"], str] = Field(default_factory=dict)
    """Names of the axes in the file (of a table, the column of times), if they are unusual."""
    lat: str | None = None
    """Latitudes: an npz file or array, a 2-D variable of a curvilinear grid, a table's column."""
    lon: str | None = None
    """Longitudes, as `lat`."""
    cell: str | None = None
    """Column of a table or variable of stations that identifies the location; by default each pair
    of lat and lon is one location."""
    trim: tuple[int, int] = (0, 0)
    """Rows and columns dropped at the end of the axes because they are padding or duplicates (a
    last meridian that repeats the first is dropped in any case)."""
    trim_start: tuple[int, int] = (0, 0)
    """Rows and columns dropped at the start of the axes."""
    time: TimeAxis = TimeAxis()
    static: bool = later(False)
    """Whether the one time of the files is dropped, as of a map that has a date."""
    select: dict[str, Select] = later({})
    """Positions along dimensions that are not time, y and x: `{depth: 0, expver: "0001", plev:
    {value: 85000}}`."""
    reduce: dict[str, Reduce] = later({})
    """Reductions of other dimensions: `{number: mean, depth: {to: [0, 1]}}`."""
    classes: dict[str, tuple[Code, ...]] = Field(default_factory=dict)
    """Labels of a categorical source and the codes of each, such as `{forest: [1, 2], water: 17}`,
    or a list of codes; all other codes are missing values. Of polygons they are values of the
    column, such as `{su: [su]}`, and without `classes` each value is one."""
    crs_is_wrong: bool = False
    """Whether the CRS in the file is known to be wrong and `crs` is right."""
    wrong_in_file: tuple[Literal["crs", "units", "nodata", "bounds"], ...] = ()
    """Metadata known to be wrong in the file, for which the entry is used instead."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the driver, if it has any: files, thresholds, `filter_by_keys` of `grib`."""
    merge: tuple[Source, ...] = later(())
    """Entries of which this one is made, in order of preference: `merge: [final, preliminary]`. The
    first with a valid value is used; means at the seams of tiles are over all parts. A catalog has
    their names."""
    unit_norm: bool = later(False)
    """Whether the variables are the components of vectors of norm 1, as of embeddings, which a
    check verifies."""
    title: str = ""
    licence: str | None = None
    doi: str | None = None
    reference: str | None = None

    @field_serializer("uri")
    def _public(self, uri: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return public_uri(uri) if isinstance(uri, str) else tuple(map(public_uri, uri))

    @field_validator("crs")
    @classmethod
    def _known_crs(cls, crs: str) -> str:
        if crs == OF_FILE:
            return crs
        try:
            pyproj.CRS.from_user_input(crs)
        except pyproj.exceptions.CRSError:
            raise PydanticCustomError(
                "crs", "a CRS that PROJ knows, such as EPSG:5070, WKT or a PROJ string"
            ) from None
        return crs

    @model_validator(mode="before")
    @classmethod
    def _of_parts(cls, entry: Any) -> Any:
        if not isinstance(entry, dict) or "merge" not in entry or entry.get("driver") == DRIVER:
            return entry
        return merged_settings(entry, [Source.model_validate(part) for part in entry["merge"]])

    @field_validator("classes", mode="before")
    @classmethod
    def _labelled(cls, classes: Any) -> Any:
        return labelled_codes(classes)

    @model_validator(mode="before")
    @classmethod
    def _method_of_kind(cls, entry: Any) -> Any:
        return with_grid(with_default_method(entry))

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        whole = self.driver != "vector"
        if wrong := kind_fault(self.kind, self.method, self.classes, self.period, needs=whole):
            raise ValueError(wrong)
        if self.classes:
            check_codes(self.variables)
        if not self.uris or not all(self.uris):
            raise ValueError("a uri without an address")
        for uri in self.uris:
            check_uri(uri)
        if "year" in self.uri_keys:
            if not self.time.years:
                raise ValueError("{year} in the uri without time.years: [first, last]")
            count = len(self.uris) * count_steps(self.uri_keys, self.time.years)
            if count > MAX_STEPS:
                raise ValueError(f"time.years for which the uri names {count:,} files")
        return self

    @model_validator(mode="after")
    def _reduces(self) -> Source:
        if both := self.select.keys() & self.reduce.keys():
            raise ValueError(f"{min(both)} under `select` and under `reduce`")
        if self.classes and any(how != "first_valid" for how in self.reduce.values()):
            raise ValueError("classes, whose codes `reduce` can only take by `first_valid`")
        return self

    @model_validator(mode="after")
    def _accumulates(self) -> Source:
        if self.accumulated:
            return self
        if self.time.resets is not None or any(v.bucket for v in self.variables.values()):
            raise ValueError(
                "`resets` or `bucket` without a variable of `cell_method: accumulated`"
            )
        return self

    def __hash__(self) -> int:
        return hash((self.name, self.uri))

    def overrides(self, what: str) -> bool:
        """Whether the entry overrides the file's metadata on `what` (such as "crs")."""
        return what in self.wrong_in_file or (what == "crs" and self.crs_is_wrong)

    @property
    def accumulated(self) -> tuple[str, ...]:
        """Names of the variables that are totals since a reset."""
        methods = {name: entry.cell_method for name, entry in self.variables.items()}
        return tuple(name for name, method in methods.items() if method == "accumulated")

    @property
    def own_variables(self) -> dict[str, Variable]:
        """Canonical variables that the entry defines itself, by name."""
        return {name: v.define for name, v in self.variables.items() if v.define is not None}

    @property
    def uris(self) -> tuple[str, ...]:
        """All addresses of the entry, in its order."""
        return (self.uri,) if isinstance(self.uri, str) else self.uri

    @property
    def access(self) -> Access:
        """How requests for remote files are made: `anonymous` and `requester_pays` of `options`."""
        return Access.model_validate(
            {key: self.options[key] for key in Access.model_fields if key in self.options}
        )

    @property
    def address(self) -> str:
        """The addresses as one text: the uri itself where there is only one."""
        return ", ".join(map(public_uri, self.uris))

    @property
    def uri_keys(self) -> tuple[str, ...]:
        """Keys of the uri, such as `year`."""
        return series_keys(self.uris)

    @property
    def parts(self) -> tuple[Source, ...]:
        """The entries with files of which this one is made: itself, or the parts of `merge`."""
        return tuple(one for part in self.members for one in part.parts) or (self,)

    @property
    def members(self) -> tuple[Source, ...]:
        """The entries under `merge`, with the files of this one's period alone."""
        if self.time.span is None or self.time.kind == "months":
            return self.merge
        return tuple(limited(self.merge, self.time.span))

    @property
    def series(self) -> Series:
        """Paths of the files of each step of the uri's keys, in order; existing or not.

        The step is () without keys. Globs and lists have several files a step, the same order each.
        """
        are_forecasts = self.driver == "grib" or self.dims.get("time") == "valid_time"
        span, spare = self.time.span, self.time.spare_days(bool(self.accumulated), are_forecasts)
        if asset := self.options.get("asset"):
            trust = self.options.get("trust") is True
            return asset_series(self.uris, asset, self.access, span, spare, trust)
        cut = (self.time.years, span, spare, self.access)
        return series_files([Pattern(uri, self.driver, *cut) for uri in self.uris])

    @property
    def files(self) -> list[Path]:
        """Paths of all files that the uri stands for, in order; existing or not."""
        if self.merge:
            return [path for part in self.parts for path in part.files]
        return [path for paths in self.series.values() for path in paths]

    @property
    def may_lack_files(self) -> bool:
        """Whether the entry accepts missing files of a series as gaps in time."""
        return self.time.gaps == "missing" and self.time.years is not None

    @property
    def opened(self) -> Series:
        """Files to open at each step: all, or the existing ones if files may be missing."""
        if not self.may_lack_files:
            return self.series
        there = {
            step: tuple(path for path in paths if path.exists())
            for step, paths in self.series.items()
        }
        return {step: paths for step, paths in there.items() if paths}

    @property
    def opened_files(self) -> list[Path]:
        """Paths of all files to open, in order."""
        return [path for paths in self.opened.values() for path in paths]

    def opened_name(self, variable: str) -> str:
        """Return the name of a canonical variable in the dataset of the opened files.

        It is that of the files, unless the values are computed: several variables may come of one.
        """
        entry = self.variables[variable]
        return f"{variable} of {entry.name}" if entry.is_computed else entry.name

    def beside(self, operand: Operand) -> Source:
        """Return the entry of an operand's files, without variables."""
        where = {"uri": operand.uri} if operand.uri else {}
        reader = {"driver": operand.driver} if operand.driver else {}
        return self.model_copy(update={"variables": {}, "classes": {}, **where, **reader})

    @property
    def companions(self) -> list[Path]:
        """Paths of further files: of masks, operands, tables that are looked up, and the grid."""
        paths: list[Any] = []
        for entry in self.variables.values():
            for operand in (*entry.mask, *entry.operands.values()):
                if operand.uri:
                    paths += self.beside(operand).files
            if isinstance(entry.transform, Lookup):
                paths.append(path_of(entry.transform.lookup))
        if grid_file := self.options.get("grid_file"):
            paths.append(path_of(str(grid_file)))
        return list(dict.fromkeys(paths))
