"""`Source`: a catalog's entry of one data set, and `Variable`: that of a canonical variable.

Downstream: readers open the files that a `Source` names; what its driver needs of it they check.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pyproj
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.core.errors import nearest_name
from pipeline.core.settings import Frozen
from pipeline.entries.file_series import Step, pattern_keys, series_files
from pipeline.times.axis import TimeAxis

METHODS = (
    "conservative", "bilinear", "nearest", "mean", "std", "mode", "fractions", "circular_mean",
)  # fmt: skip


class Variable(Frozen):
    """A canonical variable: its CF names and units, the values it can have, how it is used."""

    long_name: str
    units: str
    standard_name: str | None = None
    valid_range: tuple[float, float] | None = None
    transform: Literal["none", "log"] = "none"
    """Before the z-score: `log` is log10(sqrt(x) + 0.1), the field's for precipitation and flow."""
    group: str | None = None
    """Static attributes of one group are hidden together in pretraining."""


class SourceVariable(Frozen):
    """How a file names and packs one canonical variable."""

    name: str
    units: str | None = None
    """Of the file's values after scale and offset; by default what the file says."""
    scale: float = 1.0
    offset: float = 0.0
    """Value = scale · stored + offset, after what the file itself declares."""
    nodata: float | None = None
    """The stored value that is missing, where the file does not declare it."""
    above_is_missing: float | None = None
    """Values above this are an undeclared fill."""
    records: tuple[str, ...] = ()
    """Variables among which a wrong conversion dealt out this one's time steps: reading the first
    step of each, then the second, gives all steps of layer 0, then all of layer 1, and so on.
    """
    layer: int = 0
    cell_method: Literal["sum", "mean", "minimum", "maximum"] | None = None
    """How days are made of shorter steps; by default the file's own `cell_methods`."""
    probabilities: str | None = None
    """The variable holds levels along its last axis and this one their probabilities: the mean."""


class Source(Frozen):
    """One data set as delivered.

    `uri` may hold `{year}`, `{month:02d}` and `{day:02d}` for many files.
    """

    name: str
    uri: str
    driver: str
    """Name of the reader of its files."""
    variables: dict[str, SourceVariable] = Field(default_factory=dict)
    kind: Literal["continuous", "categorical", "cyclic"] = "continuous"
    method: str = "conservative"
    min_coverage: float = Field(0.5, ge=0, le=1)
    crs: str = "EPSG:4326"
    resolution: tuple[float, float] | None = None
    """Cell size (dx, dy) in the units of the CRS; compared with the file."""
    dims: dict[Literal["time", "y", "x"], str] = Field(default_factory=dict)
    """The file's names of the axes (of a table, the column of times), where they are not usual."""
    lat: str | None = None
    """Latitudes: an npz file or array, a 2-D variable of a curvilinear grid, a table's column."""
    lon: str | None = None
    cell: str | None = None
    """Column of a table, variable of stations, that names the location; by default each pair of
    lat and lon is one."""
    trim: tuple[int, int] = (0, 0)
    """Rows and columns of padding or repetition at the end of each axis that are dropped (a last
    meridian that is the first again is dropped anyway)."""
    trim_start: tuple[int, int] = (0, 0)
    time: TimeAxis = TimeAxis()
    classes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Labels of a categorical source and the codes each stands for; other codes are missing."""
    crs_is_wrong: bool = False
    """The file's own CRS is known to be wrong and `crs` is right."""
    wrong_in_file: tuple[Literal["crs", "units", "nodata"], ...] = ()
    """What the file is known to say wrongly: there the entry is right."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Files, thresholds and choices of the drivers that have any; `filter_by_keys` of `grib`."""
    title: str = ""
    licence: str | None = None
    doi: str | None = None
    reference: str | None = None

    @field_validator("crs")
    @classmethod
    def _known_crs(cls, crs: str) -> str:
        try:
            pyproj.CRS.from_user_input(crs)
        except pyproj.exceptions.CRSError:
            raise PydanticCustomError(
                "crs", "a CRS that PROJ knows, such as EPSG:5070, WKT or a PROJ text"
            ) from None
        return crs

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.method not in METHODS:
            hint = nearest_name(self.method, METHODS)
            raise ValueError(f'method "{self.method}" is none of {", ".join(METHODS)}. {hint}')
        if self.kind == "categorical" and not self.classes:
            raise ValueError("a categorical source names its classes")
        keys = pattern_keys(self.uri)
        if "year" in keys and not self.time.years:
            raise ValueError("{year} in the uri without time.years: [first, last]")
        return self

    def __hash__(self) -> int:
        return hash((self.name, self.uri))

    def mistrusts(self, what: str) -> bool:
        """Whether the entry is right where the file says otherwise ("crs", "units", "nodata")."""
        return what in self.wrong_in_file or (what == "crs" and self.crs_is_wrong)

    @property
    def series(self) -> dict[Step, Path]:
        """Path of every file by the year, month and day of the uri, in order; existing or not."""
        # Days that begin at another hour, or of another calendar, reach beyond the period.
        spare = 2 * self.time.daily + 5 * (self.time.calendar == "convert")
        return series_files(self.uri, self.time.years, self.time.period, spare)

    @property
    def files(self) -> list[Path]:
        """Every file that the uri stands for, in order; existing or not."""
        return list(self.series.values())

    @property
    def may_lack_files(self) -> bool:
        """Whether steps of a series without a file are gaps that the entry allows."""
        return self.time.gaps == "missing" and self.time.years is not None

    @property
    def opened(self) -> dict[Step, Path]:
        """The files that are to be opened: all, or those there are where the others may lack."""
        if not self.may_lack_files:
            return self.series
        return {step: path for step, path in self.series.items() if path.exists()}
