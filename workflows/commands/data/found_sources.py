"""What the sources of a catalog offer a new config: forcings, static attributes, targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs
from pipeline.readers.registry import driver_of
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.joint_info import bounds_in_degrees
from pipeline.sources.open import check_source

Degrees = tuple[float, float, float, float]
TERRAIN = ("slope", "aspect_sine", "aspect_cosine")
METRES = 111_320.0
"""Length of a degree of latitude."""


@dataclass(frozen=True)
class Found:
    """One source: its entry, and what its files hold; None where these could not be opened."""

    source: Source
    info: SourceInfo | None

    @property
    def is_sites(self) -> bool:
        """Whether its values are those of stations or points."""
        return driver_of(self.source).returns in ("sites", "network")

    @property
    def is_grid(self) -> bool:
        """Whether it is a grid with variables."""
        return driver_of(self.source).returns == "grid" and bool(self.source.variables)

    @property
    def is_series(self) -> bool:
        """Whether its values change in time."""
        axis = self.source.time
        has_times = self.info is not None and self.info.times is not None
        return axis.step is not None or axis.kind == "months" or has_times

    @property
    def degrees(self) -> Degrees | None:
        """Bounds of its cells or sites in degrees; None where they are unknown."""
        if self.info is None:
            return None
        return self.info.bounds if self.is_sites else bounds_in_degrees(self.info)


@dataclass(frozen=True)
class Offer:
    """What a config can be made of."""

    grids: tuple[Found, ...]
    sites: tuple[Found, ...]

    @classmethod
    def of(cls, found: Iterable[Found]) -> Offer:
        """Return the offer of sources."""
        known = list(found)
        return cls(tuple(f for f in known if f.is_grid), tuple(f for f in known if f.is_sites))

    def targets(self) -> list[str]:
        """Names of variables that can be targets, those of sites first."""
        names = [name for f in self.sites for name in f.source.variables]
        return list(dict.fromkeys([*names, *self.variables(series=True)]))

    def variables(self, series: bool, besides: Sequence[str] = ()) -> list[str]:
        """Names of the gridded variables that change in time, or of those that do not."""
        found: list[str] = []
        for one in self.grids:
            if one.is_series == series:
                categorical = one.source.kind == "categorical"
                found += [f"{name}_fraction_*" if categorical else name
                          for name in one.source.variables]  # fmt: skip
        return [name for name in dict.fromkeys(found) if name not in besides]

    def sources(self, target: Sequence[str], site: str | None) -> list[str]:
        """Names of the gridded sources; those of the target alone only where no site has it."""
        return [one.source.name for one in self.grids
                if site is None or not {*one.source.variables} <= {*target}]  # fmt: skip

    def site(self, target: Sequence[str]) -> Found | None:
        """The source of sites that has all of the targets; None where none has."""
        return next((f for f in self.sites if {*target} <= {*f.source.variables}), None)

    def elevation(self) -> str | None:
        """Name of the source of elevations; None without one."""
        return next((f.source.name for f in self.grids
                     if "elevation" in f.source.variables and not f.is_series), None)  # fmt: skip

    def region(self) -> Degrees | None:
        """The bounds in degrees that all grids cover; None where there are none."""
        boxes = [box for one in self.grids if (box := one.degrees) is not None]
        if not boxes:
            return None
        west, south, east, north = np.array(boxes).T
        found = float(west.max()), float(south.max()), float(east.min()), float(north.min())
        return found if found[0] < found[2] and found[1] < found[3] else None

    def period(self, site: Found | None) -> tuple[str, str] | None:
        """The first and last day that all series have; None where there are none."""
        series = [f for f in (*self.grids, *([site] if site else [])) if f.is_series]
        spans = [f.info.times for f in series if f.info is not None and f.info.times is not None]
        if not spans:
            return None
        first, last = max(span[0] for span in spans), min(span[1] for span in spans)
        return (str(first)[:10], str(last)[:10]) if first <= last else None

    def cell(self, crs: str) -> float | None:
        """The cell size of the coarsest series in units of a CRS, as a round number."""
        sizes = [
            max(f.info.resolution) * (METRES if is_geographic_crs(f.info.crs) else 1.0)
            for f in self.grids
            if f.is_series and f.info is not None and max(f.info.resolution) > 0
        ]
        if not sizes:
            return None
        size = max(sizes) / (METRES if is_geographic_crs(crs) else 1.0)
        power = 10.0 ** np.floor(np.log10(size) + 1e-6)
        return float(f"{max(n for n in (1, 2, 5) if n * power <= size * 1.001) * power:.3g}")


def look_at(sources: Iterable[Source], faults: Faults) -> list[Found]:
    """Return sources with what their files hold; adds the faults of those that disagree."""
    found = []
    for source in sources:
        info = None
        with faults.collecting():
            info = check_source(source, faults)
        found.append(Found(source, info))
    return found
