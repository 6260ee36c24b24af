"""The settings of a run as one frozen, validated `RunConfig`; nothing here opens data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.climate.evapotranspiration import MethodName
from pipeline.core.errors import nearest_name
from pipeline.core.settings import Frozen, Limit, later
from pipeline.core.written.names import PathName
from pipeline.entries.source import Variable
from pipeline.entries.variable import TransformName
from pipeline.execution.cluster import ClusterConfig
from stefaland.tasks import values_of
from workflows.config.beside import inline_grids
from workflows.config.cubes import CubeSpec
from workflows.config.finetuning import FinetuneSettings
from workflows.config.folds import FoldSettings
from workflows.config.pretraining import PretrainSettings
from workflows.config.publish import KnownLocation, PublishSettings
from workflows.config.ranking import BEST, PredictSettings, ScoreSettings
from workflows.config.references import Keys, with_references
from workflows.config.searching import SearchSettings


class Roots(Frozen):
    """Root folders of data and runs; `${NAME:-default}` refers to environment variables."""

    data: Path
    runs: Path


class Absences(Frozen):
    """Settings for drawing cells without an event, for inventories that list events alone."""

    ratio: float = Field(1.0, gt=0)
    """Ratio of the number of absences to that of cells with an event."""
    buffer_km: float = Field(10.0, ge=0)
    """Minimum distance of an absence from every event."""
    reach_km: Limit | None = Field(None, gt=0)
    """Maximum distance of an absence from the nearest event, for inventories of limited extent."""


class Inputs(Frozen):
    """Sources that are regridded, and names of the model's inputs and target (`*` in statics)."""

    sources: tuple[str, ...] = ()
    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    target: PathName
    """The variable that is predicted. A list, such as `[soil_moisture_5cm, soil_moisture_50cm]`, is
    the target and `further_targets`."""
    further_targets: tuple[PathName, ...] = later(())
    """Variables that the same models predict as well, each with its own scaling, missing values,
    scores and maps. A site may have some of the targets only."""
    target_parts: tuple[PathName, ...] = ()
    """Parts of a composition as target, such as sand, silt and clay of soil texture."""
    target_sites: str | None = None
    """Catalog entry of sites (stations, profiles, events) whose values become the target of the
    cells of the finetuning cube in which they lie."""
    exclude_unmatched: bool = False
    """Leave out sites outside the grid or in the sea; by default they are an error."""
    absences: Absences | None = None
    """Drawing of cells without an event, where the target's sites are events alone."""
    exclude_impossible: bool = False
    """Leave out sites with an impossible target (fractions that do not sum to 1) and list them in
    the scorecard; by default they are an error."""
    potential_evapotranspiration: MethodName | None = later(None)
    """Method by which the forcing of this name is derived from others, where no source has it:
    oudin (air temperature), hargreaves (its daily extremes), priestley_taylor (with shortwave
    radiation, humidity and elevation or pressure) or fao56 (with extremes and wind too). List it in
    `forcings` for the model to have it; climate statics use it in any case."""
    climate_statics: bool | tuple[str, ...] = later(False)
    """Static attributes that are derived from each cell's own forcings of the training period: all
    signatures of their climate (true), or some by name, such as `[climate_aridity,
    climate_snow_fraction]`. They need not be repeated in `statics`."""
    location: bool = later(False)
    """Longitude and latitude of each cell as static attributes of all models, in degrees. They help
    between sites; far from all sites, as in held-out regions, they may mislead."""
    transforms: dict[PathName, TransformName] = later({})
    """Transforms of variables before their z-scores that replace those of `variables.yml`: log or
    none, as in `{streamflow: none}`, with which the loss `nse` is that of the flow itself."""
    terrain_from: str | None = None
    """Elevation source from which slope, aspect and curvature are derived before regridding."""
    land_fraction: str | None = None
    """Variable that decides which cells are land; by default all cells with forcings."""
    min_land_fraction: float = Field(0.5, gt=0, le=1)
    fill_distance: int = Field(0, ge=0, le=1000)
    """Maximum width in cells of gaps on land that are filled and flagged."""

    @model_validator(mode="before")
    @classmethod
    def _several_targets(cls, settings: Any) -> Any:
        target = settings.get("target") if isinstance(settings, Mapping) else None
        if not isinstance(target, list | tuple) or not target:
            return settings
        further = (*target[1:], *(settings.get("further_targets") or ()))
        return {**settings, "target": target[0], "further_targets": further}

    @model_validator(mode="after")
    def _each_target_once(self) -> Inputs:
        names = (self.target, *self.further_targets)
        if len({*names}) < len(names):
            raise ValueError(f"target: {', '.join(names)}; each target once")
        if self.further_targets and self.target_parts:
            raise ValueError("target_parts: a composition has no further targets")
        return self

    @property
    def targets(self) -> tuple[str, ...]:
        """The variables that are predicted."""
        return self.target_parts or (self.target, *self.further_targets)

    @property
    def static_patterns(self) -> tuple[str, ...]:
        """Names or patterns of all static attributes: `statics`, location, climate statics."""
        derived = ("climate_*",) if self.climate_statics is True else self.climate_statics or ()
        location = ("longitude", "latitude") if self.location else ()
        return tuple(dict.fromkeys((*self.statics, *location, *derived)))

    @property
    def of_sites(self) -> dict[str, str]:
        """The targets that are filled from sites, each with the name of their source."""
        return dict.fromkeys(self.targets, self.target_sites) if self.target_sites else {}


class ModelSettings(Frozen):
    """A preset of the network, and settings that differ from it."""

    preset: str = "stefaland-tiny"
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings")
    @classmethod
    def _finite(cls, settings: dict[str, Any]) -> dict[str, Any]:
        wrong = [name for name, value in settings.items()
                 if isinstance(value, float) and not math.isfinite(value)]  # fmt: skip
        if wrong:
            raise ValueError(f"{', '.join(wrong)}: no finite number")
        return settings


class RunConfig(Frozen):
    """All settings that determine the results of a run."""

    name: PathName
    """Name of the run and of its folder below `roots.runs`."""
    title: str
    """Title of maps and report; as in all descriptions, references to the environment stay."""
    seed: int = 0
    plugins: tuple[str, ...] = ()
    """Modules beside the config that add readers or other parts, such as my_reader."""
    roots: Roots
    catalogs: tuple[str, ...]
    grids: tuple[str, ...] = ("grids.yml",)
    """Files of named target grids in addition to the packaged one, or grids by name."""
    own_grids: dict[str, dict[str, Any]] = later({})
    """Grids of this run by name, with the keys of `grids.yml`, as `grid` of a cube may be too."""
    variables: dict[PathName, Variable] = later({})
    """Canonical variables of this run in addition to `variables.yml`, with its keys."""
    cubes: dict[PathName, CubeSpec]
    inputs: Inputs
    folds: FoldSettings
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings
    finetune: FinetuneSettings
    predict: PredictSettings
    publish: PublishSettings
    score: ScoreSettings = ScoreSettings()
    search: SearchSettings = later(SearchSettings())
    places: tuple[KnownLocation, ...] = ()
    """Locations at which published maps are checked."""
    caveats: tuple[str, ...] = ()
    """Sentences in the report about limitations of this run's data."""
    cluster: ClusterConfig = ClusterConfig()
    _references: dict[Keys, str] = PrivateAttr(default_factory=dict)

    def keep_references(self, references: dict[Keys, str]) -> None:
        """Keep the texts of the config that refer to environment variables, for `written`."""
        self._references.update(references)

    def written(self) -> dict[str, Any]:
        """All settings as plain values, with the config's references to environment variables."""
        settings: dict[str, Any] = with_references(self.model_dump(mode="json"), self._references)
        return settings

    @model_serializer(mode="wrap")
    def _without_empty_plugins(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs without plugins keep the fingerprints and metadata of versions before plugins.
        settings: dict[str, Any] = handler(self)
        if not self.plugins:
            settings.pop("plugins", None)
        return settings

    @model_validator(mode="before")
    @classmethod
    def _grids_by_name(cls, settings: Any) -> Any:
        return inline_grids(settings)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.roots.runs / self.name

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> RunConfig:
        task, parts = self.finetune.task, self.inputs.target_parts
        kind = values_of(task)
        if (kind == "composition") != bool(parts):
            raise ValueError("inputs.target_parts and finetune.task: composition need each other")
        if kind != "quantity" and self.inputs.further_targets:
            raise ValueError(f"inputs.target: several targets, but finetune.task: {task} has one")
        if self.inputs.absences and (kind != "probability" or not self.inputs.target_sites):
            raise ValueError("inputs.absences is for task probability with inputs.target_sites")
        # A cube that does not exist is reported below.
        cube = self.cubes.get(self.finetune.cube)
        if self.inputs.target_sites and cube and not cube.grid:
            raise ValueError("inputs.target_sites needs finetune.cube to be a cube with a grid")
        series = [p.suffix for p in self.publish.products if p.aggregate != "none"]
        if kind != "quantity" and series:
            raise ValueError(
                f"maps of task {task} have no time axis, but an aggregate over time is set for "
                f"product {', '.join(series)}"
            )
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> RunConfig:
        wrong = []
        periodic = [f"{part}.cyclic" for part in ("pretrain", "finetune")
                    if getattr(self, part).cyclic]  # fmt: skip
        periodic += [f"pretrain.also.{name}.cyclic" for name, cube in self.pretrain.also.items()
                     if cube.cyclic]  # fmt: skip
        if self.folds.periods and periodic:
            wrong.append(f"folds with periods, but {' and '.join(periodic)}: the windows "
                         "of a periodic time axis lie in every period")  # fmt: skip
        visible = {*self.inputs.forcings, *self.inputs.statics, *self.inputs.targets}
        if shown := visible & set(self.pretrain.also_predict):
            wrong.append(f"pretrain.also_predict: {', '.join(sorted(shown))} are inputs or targets "
                         "of the run")  # fmt: skip
        further = {*self.pretrain.also_forcings, *self.pretrain.also_statics}
        if shown := further & {*self.inputs.targets, *self.pretrain.also_predict}:
            wrong.append(f"pretrain.also_forcings, also_statics: {', '.join(sorted(shown))} are "
                         "targets")  # fmt: skip
        if "persistence" in self.finetune.baselines and self.folds.kind != "time":
            wrong.append(f'finetune.baselines: "persistence" with folds of kind {self.folds.kind}: '
                         "a held-out site has no past")  # fmt: skip
        model, models = self.predict.model, self.finetune.models
        if model not in (BEST, *models):
            hint = nearest_name(model, [BEST, *models])
            wrong.append(f'predict.model: no model "{model}" among {BEST}, {", ".join(models)}. '
                         f"{hint}".strip())  # fmt: skip
        for name in {*self.publish.of_target} - {*self.inputs.targets}:
            hint = nearest_name(name, self.inputs.targets)
            wrong.append(f'publish.of_target: "{name}" is no target of the run. {hint}'.strip())
        if BEST in self.finetune.stack:
            wrong.append(f'finetune.stack: "{BEST}", which names the best of all models')
        if model == "persistence":
            wrong.append('predict.model: "persistence", which reads observations of each site')
        if self.search != SearchSettings():
            wrong += self.search.misfits(self.finetune)
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> RunConfig:
        used = {
            "pretrain.cube": self.pretrain.cube,
            **{f"pretrain.also.{name}": name for name in self.pretrain.also},
            "finetune.cube": self.finetune.cube,
            **{f"predict.cubes.{i}": name for i, name in enumerate(self.predict.cubes)},
            **{f"publish.products.{i}.cube": p.cube for i, p in enumerate(self.publish.products)},
            **{
                f"cubes.{name}.points_from": spec.points_from
                for name, spec in self.cubes.items()
                if spec.points_from
            },
        }
        unknown = [
            f'{key}: no cube "{name}". {nearest_name(name, self.cubes)}'.strip()
            for key, name in used.items()
            if name not in self.cubes
        ]
        if unknown:
            raise ValueError("; ".join(unknown))
        return self
