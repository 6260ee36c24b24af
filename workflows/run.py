"""`Run`: the config of a run with its catalogs, grids and paths; the argument of every stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.catalog.catalog import Catalog, read_catalog, read_variables
from pipeline.climate.derived import Derived
from pipeline.climate.signatures import METEOROLOGY, ClimateSettings, climate_variables
from pipeline.core.errors import Faults, InputError, nearest_name
from pipeline.core.packaged import catalog_path, packaged_catalogs
from pipeline.entries.source import Source, Variable
from pipeline.grid.named_grids import grids_of, read_grids
from pipeline.grid.target_grid import TargetGrid
from stefaland.checkpoints.released import encoder_folder
from workflows.config.publish import Product
from workflows.config.schema import RunConfig

OWN_GRID = (
    "Write your own in grids.yml beside the config, as `stefaland grid add {}` does, or in place of"
    " the name of a cube's grid: `{{crs: …, bounds: […], resolution: …}}`."
)


@dataclass(frozen=True)
class Run:
    """One run: its settings, whether to resume it, and the part of the tiles of this process."""

    config: RunConfig
    resume: bool = True
    part: tuple[int, int] = (1, 1)
    all_files: bool = False
    """Whether the check looks at each file of a long series, not only at a sample."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.folder

    @cached_property
    def variables(self) -> dict[str, Variable]:
        """Canonical variables by name, also those that the catalogs define themselves."""
        own = (source.own_variables for source in self.catalog.sources.values())
        in_catalogs = {name: v for found in own for name, v in found.items()}
        known = {**read_variables(), **self.config.variables, **in_catalogs}
        if self.config.inputs.climate_statics:
            known |= climate_variables(self._climate_forcings, known)
        return known

    @property
    def _climate_forcings(self) -> tuple[str, ...]:
        """The variables that climate statics may be derived from, which no target is."""
        inputs = self.config.inputs
        names = dict.fromkeys((*inputs.forcings, *METEOROLOGY))
        return tuple(name for name in names if name not in inputs.targets)

    @cached_property
    def climate(self) -> ClimateSettings | None:
        """The climate statics of all cubes; None where the config asks for none."""
        wanted = self.config.inputs.climate_statics
        if not wanted:
            return None
        definitions = climate_variables(self._climate_forcings, self.variables)
        period = self.config.folds.train_period
        names = wanted if isinstance(wanted, tuple) else None
        return ClimateSettings(self._climate_forcings, definitions, period, names)

    @property
    def derived(self) -> Derived:
        """The variables that all cubes derive from their own forcings."""
        inputs = self.config.inputs
        method = inputs.potential_evapotranspiration
        return Derived(method, self.climate, inputs.targets, inputs.location)

    @cached_property
    def catalog(self) -> Catalog:
        """All sources of the config's catalogs."""
        config = self.config
        return read_catalog(config.catalogs, data=config.roots.data, variables=config.variables)

    @cached_property
    def grids(self) -> dict[str, TargetGrid]:
        """The target grids that the run uses, by name; `InputError` for an unknown one."""
        known = read_grids(packaged_catalogs() / "grids.yml")
        for name in self.config.grids:
            known |= read_grids(catalog_path(name))
        known |= grids_of(self.config.own_grids, f"{self.config.name}: own_grids", known)
        used = {f"cubes.{name}.grid": c.grid for name, c in self.config.cubes.items() if c.grid}
        for i, product in enumerate(self.config.publish.products):
            if product.grid:
                used[f"publish.products.{i}.grid"] = product.grid
        faults = Faults()
        for key, name in used.items():
            if name not in known:
                expected = f"one of {', '.join(sorted(known))}"
                hint = f"{nearest_name(name, known)} {OWN_GRID.format(name)}".strip()
                faults.add(key, f'"{name}"', expected, hint)
        faults.raise_if_any()
        return {name: known[name] for name in used.values()}

    def grid(self, cube: str) -> TargetGrid:
        """The target grid of a gridded cube."""
        name = self.config.cubes[cube].grid
        if name is None:
            raise InputError([])
        return self.grids[name]

    def product_grid(self, product: Product) -> TargetGrid:
        """The grid that a product is published on."""
        return self.grids[product.grid] if product.grid else self.grid(product.cube)

    def cube(self, name: str) -> Path:
        """Path of the store of a cube's inputs."""
        return self.folder / "cubes" / f"{name}.zarr"

    def prediction(self, name: str) -> Path:
        """Path of the store of a cube's predictions."""
        return self.folder / "predictions" / f"{name}.zarr"

    def ledger(self, stage: str, name: str) -> Path:
        """Folder of the tile markers of a stage and cube."""
        return self.folder / "ledger" / f"{stage}-{name}"

    @property
    def source_contents(self) -> Path:
        """File of the digests of all source files."""
        return self.folder / ".stages" / "sources.json"

    @property
    def sites(self) -> Path:
        """Folder of the table that matches the target's sites with cells."""
        return self.folder / "sites"

    @property
    def excluded(self) -> Path:
        """File that lists the sites left out because of an impossible target."""
        return self.folder / "excluded.json"

    @property
    def encoders(self) -> Path:
        """Folder of the pretrained models, one for each fold."""
        return self.folder / "pretrained"

    @cached_property
    def given_encoder(self) -> Path | None:
        """Folder of the encoder that replaces pretraining; None without one.

        That of a release is fetched and verified; `InputError` where it cannot be had.
        """
        source = self.config.pretrain.from_checkpoint
        return None if source is None else encoder_folder(source)

    def pretrained(self, fold: str) -> Path:
        """Checkpoint folder of the pretrained model of one fold."""
        return self.encoders / fold

    def finetuned(self, model: str, fold: str) -> Path:
        """Checkpoint folder of a finetuned model or a baseline of one fold."""
        return self.folder / "finetuned" / model / fold

    def mosaic(self, suffix: str) -> Path:
        """Path of the map store of one product."""
        return self.folder / "mosaics" / f"{self.config.inputs.target}_{suffix}.zarr"

    @property
    def maps(self) -> Path:
        """Folder of published products."""
        return self.folder / "maps"

    @property
    def published(self) -> Path:
        """File that lists the published maps with their captions."""
        return self.maps / "published.json"

    @property
    def project(self) -> Path:
        """File of the QGIS project beside the maps."""
        return self.maps / f"{self.config.name}.qgz"

    @property
    def scored_sites(self) -> Path:
        """File of the GeoPackage of the scored sites beside the maps."""
        return self.maps / f"{self.config.inputs.target}_sites.gpkg"

    @property
    def scorecard(self) -> Path:
        """File of the scores of all models."""
        return self.folder / "scorecard.json"

    @property
    def heldout(self) -> Path:
        """Path of the store of all models' held-out predictions."""
        return self.folder / "heldout.zarr"

    @property
    def outlines(self) -> Path | None:
        """File of the outlines drawn over maps; None without them."""
        name = self.config.publish.outlines
        return self.catalog[name].files[0] if name else None


def used_sources(run: Run) -> list[Source]:
    """Every catalog entry that the run reads into cubes."""
    names = [*run.config.inputs.sources]
    names += [spec.locations for spec in run.config.cubes.values() if spec.locations]
    if run.config.inputs.target_sites:
        names.append(run.config.inputs.target_sites)
    return [run.catalog[name] for name in names]


def source_entries(run: Run) -> dict[str, Any]:
    """The catalog entries of `used_sources` as plain values, for provenance."""
    return {source.name: source.model_dump(mode="json") for source in used_sources(run)}
