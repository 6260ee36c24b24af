"""The `pretrain` section of a run's settings: its cubes and inputs, or a given encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pipeline.core.settings import Frozen, later
from stefaland.config import PretrainConfig


class FurtherCube(Frozen):
    """A cube whose cells pretrain as well; it needs no target and at least one of the forcings."""

    weight: float = Field(1.0, gt=0)
    """Number of batches in proportion to that of `pretrain.cube`, which has the weight 1."""
    window: int | None = Field(None, gt=0)
    """Number of time steps of one sample; by default `pretrain.window`."""
    cyclic: bool | None = None
    """Whether its time axis is periodic (a climatology); by default `pretrain.cyclic`."""


class PretrainSettings(PretrainConfig):
    """Settings of pretraining, and the cube that it reads."""

    cube: str
    also: dict[str, FurtherCube] = later({})
    """Further cubes of the run by name, whose cells away from held-out ones pretrain the same
    encoder, such as basins and stations beside the cells of a grid. Variables that a cube lacks are
    treated as hidden; statistics are those of `cube`."""
    also_predict: tuple[str, ...] = later(())
    """Series that pretraining predicts as well but that are no inputs: variables of its cubes, such
    as soil water of a land surface model, or of our own HBV run on the forcings
    (`simulated_soil_water`, `simulated_runoff`, `simulated_evaporation`, `simulated_snow_water`).
    """
    also_forcings: tuple[str, ...] = later(())
    """Forcings of the encoder in addition to `inputs.forcings`, of which further cubes have values:
    a union of what all sources have. They are hidden where a cube lacks them, in finetuning too."""
    also_statics: tuple[str, ...] = later(())
    """Static attributes of the encoder in addition to those of `inputs`, as `also_forcings`; names
    or patterns such as `landcover_fraction_*`."""
    from_checkpoint: Annotated[str, BeforeValidator(str)] | None = None
    """Folder of a pretrained checkpoint, imported or of another run, or with one for each fold,
    such as runs/NAME/pretrained; or the name of a release, https://… or hf://OWNER/NAME@REVISION
    (docs/weights.md). Its weights and scaler replace pretraining on every fold; its pretraining
    may have seen locations that are held out here."""
    seen_cells: Literal["refuse", "warn"] = later("refuse")
    """Whether a given encoder whose record holds cells on held-out ground is refused, or used with
    a warning in the scorecard: its scores may then be too good."""
    hide_absent: bool = later(False)
    """Use a given encoder also without forcings that it was never pretrained without. Inputs that
    the encoder knows and the run lacks are hidden from it; static attributes always may be, and
    forcings that a cube of its pretraining lacked."""
    resident: bool | None = None
    """Keep training cells in memory (true) or read them shard by shard (false); by default in
    memory where they fit."""
    tensorboard: bool = False
    """Write losses as TensorBoard events as well; needs the package tensorboard."""

    @property
    def is_given(self) -> bool:
        """Whether the encoder may have other inputs than the run."""
        return bool(self.from_checkpoint or self.also_forcings or self.also_statics)
