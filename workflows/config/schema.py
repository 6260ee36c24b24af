"""A run's settings: YAML with `extends:` and `--set key=value` → one frozen, checked `RunConfig`.

Downstream: every stage takes its part of it. Nothing here opens data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pipeline.core.errors import nearest_name
from pipeline.core.settings import Frozen
from pipeline.execution.cluster import ClusterConfig
from stefaland.config import FinetuneConfig, PretrainConfig
from stefaland.metrics import SCORES, ScoreName
from stefaland.tasks import values_of
from workflows.config.folds import FoldSettings
from workflows.config.publish import Place, PublishSettings


class Roots(Frozen):
    """The only paths of a run; `${NAME:-default}` takes environment variables."""

    data: Path
    runs: Path


class CubeSpec(Frozen):
    """One store of model locations: a grid filled from rasters or points, or a table of sites."""

    grid: str | None = None
    tile: tuple[int, int] = (64, 64)
    time_shard: int | None = Field(None, gt=0)
    """Time steps in a file; by default as many as make 256 MiB."""
    locations: str | None = None
    """Catalog entry of units or basins; its sites are the cells."""
    points_from: str | None = None
    """A locations cube whose sites are interpolated onto `grid`."""
    max_distance_km: float = Field(10.0, gt=0)

    @model_validator(mode="after")
    def _one_kind(self) -> CubeSpec:
        if (self.grid is None) == (self.locations is None):
            raise ValueError("a cube has either a grid or locations")
        if self.points_from and not self.grid:
            raise ValueError("points_from needs a grid to go to")
        return self


class Absences(Frozen):
    """Cells drawn as 0 where an inventory tells events alone (pipeline/absences.py)."""

    ratio: float = Field(1.0, gt=0)
    """To the cells with an event."""
    buffer_km: float = Field(10.0, ge=0)
    """None is drawn so near to an event."""
    reach_km: float | None = Field(None, gt=0)
    """None is drawn farther than this from every event, where an inventory ends somewhere."""


class Inputs(Frozen):
    """What is regridded (`sources`) and what the model sees of it (names; `*` is allowed)."""

    sources: tuple[str, ...] = ()
    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    target: str
    target_parts: tuple[str, ...] = ()
    """Variables that make up the target together, such as sand, silt and clay of soil texture."""
    target_sites: str | None = None
    """Catalog entry of sites (stations, profiles, events) whose values are the target of the cells
    of the finetuning cube that they lie in."""
    exclude_unmatched: bool = False
    """Leave sites out that lie outside the grid or in the sea; by default they end the run."""
    absences: Absences | None = None
    """Cells without an event, where the target's sites are events alone."""
    exclude_impossible: bool = False
    """Leave sites out whose target cannot be (shares that make no whole); the scorecard says which;
    by default they end the run."""
    terrain_from: str | None = None
    """Elevation source from which slope, aspect and curvature are derived before regridding."""
    land_fraction: str | None = None
    """Variable that decides where we predict; None predicts wherever the forcings exist."""
    min_land_fraction: float = Field(0.5, gt=0, le=1)
    fill_distance: int = Field(0, ge=0)
    """Gaps inside land up to this many cells wide are filled and flagged."""

    @property
    def targets(self) -> tuple[str, ...]:
        """The variables that are predicted."""
        return self.target_parts or (self.target,)


class ModelSettings(Frozen):
    """A preset of the network and what is changed in it."""

    preset: str = "stefaland-tiny"
    settings: dict[str, Any] = Field(default_factory=dict)


class PretrainSettings(PretrainConfig):
    """Pretraining and the cube it reads."""

    cube: str
    from_checkpoint: Path | None = None
    """Folder of a pretrained checkpoint, imported or another run's (or of one for each fold, such
    as runs/NAME/pretrained), whose weights and scaler stand for pretraining on every fold. Its
    pretraining may have seen what is held out here."""
    resident: bool | None = None
    """Training cells in memory (true) or read shard by shard (false); by default as they fit."""
    tensorboard: bool = False
    """Losses as TensorBoard events too; needs the package tensorboard."""


class FinetuneSettings(FinetuneConfig):
    """Finetuning, the cube with the target, and the baselines under the same folds."""

    cube: str
    baselines: tuple[str, ...] = ("climatology", "ridge", "lstm", "scratch")

    @property
    def models(self) -> list[str]:
        """StefaLand and the baselines."""
        return ["stefaland", *self.baselines]


class PredictSettings(Frozen):
    """Where maps are made, and the batch that fits in memory."""

    cubes: tuple[str, ...]
    batch_size: int = Field(1024, gt=0)
    """Cells of a pass on a GPU; on the CPU the window decides."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the networks; auto is bfloat16 on a GPU and float32 on the CPU."""


class ScoreSettings(Frozen):
    """By which score models are ranked, over sites (the median) or all held-out values pooled."""

    metric: ScoreName = "NSE"
    over: Literal["sites", "pooled"] = "sites"
    extra: tuple[ScoreName, ...] = Field((), exclude_if=lambda names: not names)
    """Scores of plugins and installed packages that the scorecard has besides its own."""
    examples: int = Field(4, ge=1)
    """Sites whose series the report draws."""

    @field_validator("metric")
    @classmethod
    def _ranks(cls, metric: str) -> str:
        if SCORES.get(metric).better == "near_zero":
            raise ValueError(f'"{metric}", a signed error by which no model is better')
        return metric


class RunConfig(Frozen):
    """Everything that decides a run's result."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    title: str
    seed: int = 0
    plugins: tuple[str, ...] = ()
    """Modules beside the config that add readers or other parts, such as my_reader."""
    roots: Roots
    catalogs: tuple[str, ...]
    grids: tuple[str, ...] = ("grids.yml",)
    """Files of named target grids: the packaged one, or your own."""
    cubes: dict[str, CubeSpec]
    inputs: Inputs
    folds: FoldSettings
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings
    finetune: FinetuneSettings
    predict: PredictSettings
    publish: PublishSettings
    score: ScoreSettings = ScoreSettings()
    places: tuple[Place, ...] = ()
    caveats: tuple[str, ...] = ()
    """What a reader of the report must know of this run's data."""
    cluster: ClusterConfig = ClusterConfig()

    @model_serializer(mode="wrap")
    def _without_empty_plugins(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A run without plugins has the fingerprints and metadata of versions that know none.
        settings: dict[str, Any] = handler(self)
        if not self.plugins:
            settings.pop("plugins", None)
        return settings

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
        if self.inputs.absences and (kind != "probability" or not self.inputs.target_sites):
            raise ValueError("inputs.absences is for task probability with inputs.target_sites")
        if self.inputs.target_sites and not self.cubes[self.finetune.cube].grid:
            raise ValueError("inputs.target_sites needs finetune.cube to be a cube with a grid")
        series = [p.suffix for p in self.publish.products if p.aggregate != "none"]
        if kind != "quantity" and series:
            raise ValueError(
                f"a map of task {task} has no time, but there is an aggregate of "
                f"product {', '.join(series)}"
            )
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> RunConfig:
        wrong = []
        if self.folds.periods and (self.pretrain.cyclic or self.finetune.cyclic):
            wrong.append("folds with periods, but pretrain.cyclic or finetune.cyclic: the windows "
                         "of a time axis that goes round lie in every period")  # fmt: skip
        if "persistence" in self.finetune.baselines and self.folds.kind != "time":
            wrong.append(f'finetune.baselines: "persistence" with folds of kind {self.folds.kind}: '
                         "a held-out site has no past")  # fmt: skip
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _names_exist(self) -> RunConfig:
        used = {
            "pretrain.cube": self.pretrain.cube,
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
