"""`Driver`: a reader as one value, which each file of this room defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.core.settings import Frozen
from pipeline.entries.source import Source


def _files_of_uri(source: Source) -> list[Path]:
    return source.files


@dataclass(frozen=True)
class Driver:
    """A reader: how the files of a catalog entry are opened, and what else there is to ask of it.

    `open` takes a `Source` and returns an `xr.Dataset` of its variables under their file names:
    values unpacked or with `scale_factor`, `add_offset` and `_FillValue` in the attributes, `units`
    there too. A grid has dims as in the file and is best lazy; sites have dims (time, cell) or
    (cell,) and coordinates `cell`, `site`, `lat` and `lon`. A network's `open` takes the canonical
    variables too and returns sites in canonical units with a coordinate `group`; that of polygons
    returns a GeoDataFrame. What cannot be read is an `InputError`.
    """

    name: str
    """What a catalog entry writes under `driver`."""
    open: Callable[..., Any]
    gives: Literal["grid", "sites", "network", "polygons"] = "grid"
    is_series: bool = False
    """Whether many files, with {year}, {month} or {day} in the uri, are one source."""
    needs: tuple[Literal["lat", "lon", "cell"], ...] = ()
    """Keys that an entry must have, besides `variables` of a grid or of sites."""
    options: type[Frozen] | None = None
    """Model of the entry's `options`; None takes any."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Module that is not always installed → what pip installs it by."""
    files: Callable[[Source], list[Path]] = _files_of_uri
    """Files and folders that must be there before the source is opened."""
    is_lazy: bool = True
    """Whether a part of a grid is read without the rest of the file."""
    names_crs: bool = False
    """Whether every sound file names its CRS in full, so that none or another is a fault."""

    @property
    def has_variables(self) -> bool:
        """Whether it opens variables under the names of the entry: a grid or sites."""
        return self.gives in ("grid", "sites")
