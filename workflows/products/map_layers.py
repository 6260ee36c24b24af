"""The maps of a published product: their variables, files and legends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import xarray as xr

from pipeline.cube.open import open_cube
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import Legend
from pipeline.maps.mosaic import FLAG, SPREAD
from pipeline.maps.texture import CLASS, FRACTIONS
from pipeline.publish.bands import valued_steps
from stefaland.model.quantiles import LEVELS, NAMES
from stefaland.tasks import HEADS
from workflows.config.publish import Product, PublishSettings
from workflows.config.schema import Inputs
from workflows.inputs.choice import Choice


@dataclass(frozen=True)
class ProductStore:
    """A product with the store of its maps, its grid, and the folder of its files."""

    product: Product
    store: Path
    grid: TargetGrid
    folder: Path
    target: str
    """Variable whose values decide which time steps are published."""

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names of the variables of the store."""
        return frozenset(map(str, open_cube(self.store).data_vars))

    @cached_property
    def made_by(self) -> str:
        """The model of the maps and why it was chosen, a sentence; empty of earlier versions."""
        choice = Choice.of(self.store)
        return f"{choice.sentence}." if choice else ""

    @cached_property
    def steps(self) -> slice:
        """The time steps that are published, the same for all maps.

        They range from the first to the last step at which any cell of the target has a value.
        """
        return valued_steps(open_cube(self.store)[self.target])


@dataclass(frozen=True)
class Layer:
    """One published map: a variable of a product's map store."""

    product_store: ProductStore
    variable: str
    name: str
    """File name without its ending."""
    legend: Legend

    def path(self, ending: str) -> Path:
        """Path of the map's file with that ending."""
        return self.product_store.folder / f"{self.name}.{ending}"

    @property
    def product(self) -> Product:
        """The product's settings."""
        return self.product_store.product

    @property
    def grid(self) -> TargetGrid:
        """The product's grid."""
        return self.product_store.grid

    @cached_property
    def da(self) -> xr.DataArray:
        """The map, lazy; dims (time, y, x) or (y, x)."""
        da = self._stored
        return da.isel(time=self.product_store.steps) if "time" in da.dims else da

    @cached_property
    def _stored(self) -> xr.DataArray:
        return open_cube(self.product_store.store)[self.variable]

    @property
    def label(self) -> str:
        """The map's name for people: its long name."""
        return str(self._stored.attrs.get("long_name", self.variable))

    @property
    def heading(self) -> str:
        """Label, units (except of classes) and suffix of the map."""
        units = str(self._stored.attrs.get("units", ""))
        shown = "" if self.legend.kind == "categorical" or units in ("", "1") else f" ({units})"
        return f"{self.label[:1].upper()}{self.label[1:]}{shown}, {self.product.suffix}"

    @property
    def title(self) -> str:
        """Label and suffix of the map."""
        return f"{self.label}, {self.product.suffix}"


def layers(
    product_store: ProductStore, inputs: Inputs, settings: PublishSettings, head: str
) -> list[Layer]:
    """The maps of a product, in the order in which they are shown.

    They are the texture class if there is one, each target, the spread of each, the ends of the
    90 % interval if the head predicts quantiles and the mapped model has them, and the quality
    flag.
    """
    targets, suffix = inputs.targets, product_store.product.suffix
    legends = {name: settings.legend_of(product_store.product, name) for name in targets}
    found = [(name, f"{name}_{suffix}", legends[name]) for name in targets]
    found += [
        (f"{name}{SPREAD}", f"{name}_{suffix}{SPREAD}", settings.spread_legend_of(name))
        for name in targets
    ]
    found += [
        (f"{name}_{NAMES[level]}", f"{name}_{suffix}_{NAMES[level]}", legends[name])
        for name in targets
        for level in interval(head)
        if f"{name}_{NAMES[level]}" in product_store.variables
    ]
    if set(FRACTIONS) <= set(targets):
        found.insert(0, (CLASS, f"{CLASS}_{suffix}", "usda_texture"))
    found.append((FLAG, f"{inputs.target}_{suffix}_quality", FLAG))
    return [
        Layer(product_store, variable, file, settings.legend_named(name or ""))
        for variable, file, name in found
    ]


def interval(head: str) -> tuple[int, ...]:
    """Positions in `LEVELS` of the mapped quantiles, the ends of the 90 % interval.

    Empty where the head does not predict quantiles.
    """
    return (0, len(LEVELS) - 1) if HEADS.get(head).has_quantiles else ()
