"""The maps of a published product: which variables, in which files, with which legends.

Upstream: map stores of the mosaic stage. Downstream: publish.py, viewer.py and score_sites.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xarray as xr

from pipeline.core.packaged import catalog_path
from pipeline.cube.open import open_cube
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import Legend, read_legend
from pipeline.maps.mosaic import FLAG, SPREAD
from pipeline.maps.texture import CLASS, FRACTIONS
from pipeline.publish.bands import valued_steps
from stefaland.model.quantiles import LEVELS, NAMES
from stefaland.tasks import HEADS
from workflows.config.publish import Product, PublishSettings
from workflows.config.schema import Inputs


@dataclass(frozen=True)
class ProductStore:
    """A product with the store of its maps, and where its files go."""

    product: Product
    store: Path
    grid: TargetGrid
    folder: Path
    target: str
    """The variable that decides which steps are published."""

    @cached_property
    def steps(self) -> slice:
        """The steps that are published, the same ones for all maps: those from the first to the
        last at which the target has a value anywhere.
        """
        return valued_steps(open_cube(self.store)[self.target])


@dataclass(frozen=True)
class Layer:
    """One published map: a variable of a product's map store."""

    of: ProductStore
    variable: str
    name: str
    """File name without its ending."""
    legend: Legend

    def path(self, ending: str) -> Path:
        """Where the file of that kind goes."""
        return self.of.folder / f"{self.name}.{ending}"

    @property
    def product(self) -> Product:
        """The product's settings."""
        return self.of.product

    @property
    def grid(self) -> TargetGrid:
        """The product's grid."""
        return self.of.grid

    @cached_property
    def da(self) -> xr.DataArray:
        """The map, lazy; dims (time, y, x) or (y, x)."""
        da = self._stored
        return da.isel(time=self.of.steps) if "time" in da.dims else da

    @cached_property
    def _stored(self) -> xr.DataArray:
        return open_cube(self.of.store)[self.variable]

    @property
    def label(self) -> str:
        """What it shows."""
        return str(self._stored.attrs.get("long_name", self.variable))

    @property
    def heading(self) -> str:
        """What it shows with its units, and where; classes have none."""
        units = str(self._stored.attrs.get("units", ""))
        of = "" if self.legend.kind == "categorical" or units in ("", "1") else f" ({units})"
        return f"{self.label[:1].upper()}{self.label[1:]}{of}, {self.product.suffix}"

    @property
    def title(self) -> str:
        """What it shows, and where."""
        return f"{self.label}, {self.product.suffix}"


def layers(of: ProductStore, inputs: Inputs, settings: PublishSettings, head: str) -> list[Layer]:
    """The maps of a product, the first to be looked at first: the texture class where there is one,
    each target, the spread of each, the ends of the 90 % interval where the head knows quantiles,
    the quality flag.
    """
    targets, suffix = inputs.targets, of.product.suffix
    legend = settings.legend_of(of.product)
    found = [(name, f"{name}_{suffix}", legend) for name in targets]
    found += [
        (f"{name}{SPREAD}", f"{name}_{suffix}{SPREAD}", settings.spread_legend) for name in targets
    ]
    found += [
        (f"{name}_{NAMES[level]}", f"{name}_{suffix}_{NAMES[level]}", legend)
        for name in targets
        for level in interval(head)
    ]
    if set(FRACTIONS) <= set(targets):
        found.insert(0, (CLASS, f"{CLASS}_{suffix}", "usda_texture"))
    found.append((FLAG, f"{inputs.target}_{suffix}_quality", FLAG))
    return [
        Layer(of, variable, file, read_legend(catalog_path(f"legends/{name}.yml")))
        for variable, file, name in found
    ]


def interval(head: str) -> tuple[int, ...]:
    """Places in `LEVELS` of the quantiles that are mapped: the ends of the 90 % interval, where the
    head knows them.
    """
    return (0, len(LEVELS) - 1) if HEADS.get(head).has_quantiles else ()
