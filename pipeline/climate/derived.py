"""`Derived`: the variables of a cube that come of itself, on a grid or at sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.climate import evapotranspiration as pet
from pipeline.climate.signatures import ClimateSettings
from pipeline.climate.statics import attributes, chosen, climate_statics

LonLat = tuple[np.ndarray, np.ndarray]
"""Longitudes and latitudes of cells in degrees, dims (y, x) or (cell,)."""
LOCATION = {
    "longitude": {"units": "degrees_east", "long_name": "longitude"},
    "latitude": {"units": "degrees_north", "long_name": "latitude"},
}
"""Static attributes of a cell's location, and their attributes as variables of a cube."""


@dataclass(frozen=True)
class Derived:
    """Location, potential evapotranspiration and climate statics, derived in this order.

    It is false where nothing is.
    """

    evapotranspiration: pet.MethodName | None = None
    """Method by which potential evapotranspiration is derived."""
    climate: ClimateSettings | None = None
    never: tuple[str, ...] = ()
    """Variables from which evapotranspiration is not derived, such as the targets."""
    location: bool = False
    """Whether longitude and latitude of each cell are static attributes."""

    def __bool__(self) -> bool:
        return bool(self.evapotranspiration or self.climate or self.location)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all variables that may be derived."""
        statics = self.climate.variables if self.climate else ()
        location = LOCATION if self.location else ()
        return (*([pet.NAME] if self.evapotranspiration else []), *location, *statics)

    def arrays(
        self, known: Mapping[str, Sequence[str]], time: xr.DataArray | None, where: str
    ) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
        """Return the attributes of the derived forcings and static attributes of a cube, by name.

        `known` are the dims of its variables. Raises `InputError` for what cannot be derived.
        """
        forcings: dict[str, dict[str, str]] = {}
        if self.evapotranspiration is not None:
            pet.choices(self.evapotranspiration, {*known} - {*self.never}, where)
            forcings[pet.NAME] = pet.attributes(self.evapotranspiration)
        statics = dict(LOCATION) if self.location else {}
        if self.climate is None:
            return forcings, statics
        varying = {name for name, dims in known.items() if "time" in dims} | {*forcings}
        names, _ = chosen(
            self.climate, [n for n in self.climate.forcings if n in varying], time, where
        )
        return forcings, statics | {name: attributes(self.climate, name) for name in names}

    def added(self, ds: xr.Dataset, lonlat: LonLat, where: str) -> xr.Dataset:
        """Return `ds`, dims (time, y, x) or (time, cell), with all that is derived from it."""
        latitude = lonlat[1]
        if self.location:
            ds = ds.assign(_location(ds, lonlat).data_vars)
        if self.evapotranspiration is not None:
            ds = ds.assign({pet.NAME: self._evapotranspiration(ds, latitude, where, slice(None))})
        if self.climate is not None:
            ds = ds.assign(climate_statics(ds, self.climate, where).data_vars)
        return ds

    def blocks(
        self, stored: xr.Dataset, lonlat: LonLat, where: str, steps: int
    ) -> Iterator[xr.Dataset]:
        """Return what is derived from the lazy variables of a cube, in blocks of `steps` times.

        Each block must be stored before the next is asked for: climate statics, which are last,
        come of the evapotranspiration too.
        """
        latitude = lonlat[1]
        if self.location:
            yield _location(stored, lonlat)
        if self.evapotranspiration is not None:
            for begin in range(0, stored.sizes["time"], steps):
                block = slice(begin, begin + steps)
                yield self._evapotranspiration(stored, latitude, where, block).to_dataset()
        if self.climate is not None:
            yield climate_statics(stored, self.climate, where)

    def _evapotranspiration(
        self, ds: xr.Dataset, latitude: np.ndarray, where: str, steps: slice
    ) -> xr.DataArray:
        assert self.evapotranspiration is not None
        ds = ds.drop_vars(self.never, errors="ignore")
        return pet.potential_evapotranspiration(ds, self.evapotranspiration, latitude, steps, where)


def _location(ds: xr.Dataset, lonlat: LonLat) -> xr.Dataset:
    """Return longitude and latitude of the cells of `ds`, dims (y, x) or (cell,), float32."""
    dims = ("cell",) if "cell" in ds.dims else ("y", "x")
    return xr.Dataset(
        {
            name: (dims, values.astype(np.float32), attrs)
            for (name, attrs), values in zip(LOCATION.items(), lonlat, strict=True)
        }
    )


NOTHING = Derived()
"""The default of cubes: no derived variable."""
