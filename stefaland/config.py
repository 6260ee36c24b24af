"""Typed settings of the model and its training; unknown keys are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.settings import Frozen, Limit, later
from pipeline.core.written.names import PathName
from stefaland.tasks import (
    HeadName,
    LossName,
    TaskName,
    disagreement,
    values_of,
    with_defaults,
)


class ModelConfig(Frozen):
    """Settings of the network: variables, sizes, variants (arXiv 2509.17942, App. A; Table 15).

    >>> ModelConfig(forcings=("precipitation",), statics=("elevation",), d_model=64).n_heads
    4
    """

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    categorical: dict[str, Annotated[int, Field(gt=0, le=100_000)]] = Field(default_factory=dict)
    """Categorical static attributes and their number of classes; not repeated in `statics`."""
    static_groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Static attributes that are hidden together; an attribute in no group is hidden alone."""
    never_masked: tuple[str, ...] = ()
    """Static attributes that are never hidden, and so are in no pretraining loss."""
    d_model: int = Field(256, gt=0, le=65_536)
    d_embed: int = Field(64, gt=0, le=65_536)
    d_feedforward: int = Field(512, gt=0, le=262_144)
    n_heads: int = Field(4, gt=0, le=65_536)
    n_encoder_layers: int = Field(4, gt=0, le=1000)
    n_decoder_layers: int = Field(2, gt=0, le=1000)
    """Number of layers of the transformer decoder; the LSTM decoder always has one."""
    dropout: float = Field(0.1, ge=0, lt=1)
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] | None = later(None)
    """Dropout rate of attention weights, by default `dropout`. With 0, training on a CPU is about
    three times as fast, because attention then needs no matrix of weights."""
    max_tokens: int = Field(1000, gt=1, le=1_000_000)
    tokens: Literal["daily", "patch"] = "daily"
    """One token per time step, or one per `patch_length` steps of each forcing."""
    patch_length: int = Field(16, gt=0)
    patch_stride: int = Field(8, gt=0)
    static_tokens: Literal["one", "group"] = "one"
    """All statics in one token, or one token per group and one for ungrouped attributes."""
    decoder: Literal["lstm", "transformer", "none"] = "lstm"
    norm_first: bool = False
    activation: Literal["relu", "gelu"] = "relu"
    positions: Literal["learned", "rotary"] = "learned"
    time_of_year: bool = False
    cadence: bool = later(False)
    """Whether the length of a time step is an input, for pretraining on days and months alike."""
    location_encoding: bool = False
    pretext: tuple[str, ...] = later(())
    """Series that pretraining predicts as well but that are no inputs (`pretrain.also_predict`)."""
    noise_head: bool = False
    """Whether heads predict mean and log variance instead of the mean alone."""
    reference_static_mask: bool = False
    """Whether hidden statics have the published code's value per batch row, for compatibility."""

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        names = [*self.forcings, *self.statics, *self.categorical]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"variables named twice: {', '.join(repeated)}")
        self._check_statics()
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        if self.positions == "rotary" and self.d_model // self.n_heads % 2:
            raise ValueError(f"rotary positions need heads of even width, not {self.d_model} / "
                             f"{self.n_heads}")  # fmt: skip
        if self.tokens == "patch" and self.decoder == "lstm":
            raise ValueError('patches of several forcings are not in order of time: decoder "lstm" '
                             'cannot read them, use "transformer" or "none"')  # fmt: skip
        if self.tokens == "patch" and self.pretext:
            raise ValueError('pretext targets are of days: use tokens "daily"')
        if self.patch_stride > self.patch_length:
            raise ValueError(f"patch_stride {self.patch_stride} leaves gaps between patches of "
                             f"{self.patch_length}")  # fmt: skip
        return self

    def _check_statics(self) -> None:
        attributes = {*self.statics, *self.categorical}
        owner: dict[str, str] = {}
        for group, members in self.static_groups.items():
            for name in members:
                if name not in attributes:
                    hint = nearest_name(name, attributes)
                    raise ValueError(f'group "{group}": "{name}" is not a static attribute. {hint}')
                if owner.setdefault(name, group) != group:
                    raise ValueError(f'"{name}" is in the groups "{owner[name]}" and "{group}"')
        for name in self.never_masked:
            if name not in attributes:
                hint = nearest_name(name, attributes)
                raise ValueError(f'never_masked: "{name}" is not a static attribute. {hint}')


PRESETS: dict[str, dict[str, Any]] = {
    "stefaland-base": {},
    "stefaland-tiny": {
        "d_model": 64,
        "d_embed": 16,
        "d_feedforward": 128,
        "n_encoder_layers": 2,
        "max_tokens": 400,
    },
}


def model_preset(name: str, **settings: Any) -> ModelConfig:
    """The `ModelConfig` of a preset, changed by `settings`, which must name the variables.

    Raises `InputError` for an unknown preset.

    >>> model_preset("stefaland-tiny", forcings=("precipitation",), statics=("elevation",)).d_model
    64
    """
    if name not in PRESETS:
        raise bad_input(
            "model.preset", f'"{name}"', f"one of {', '.join(PRESETS)}", nearest_name(name, PRESETS)
        )
    return ModelConfig(**{**PRESETS[name], **settings})


class MaskConfig(Frozen):
    """Mask ratios of pretraining, and lengths of hidden windows in time steps."""

    forcing_ratio: float = Field(0.5, ge=0, le=1)
    static_ratio: float = Field(0.5, ge=0, le=1)
    window_min: int = Field(30, gt=0)
    window_max: int = Field(90, gt=0)
    future_share: Annotated[float, Field(ge=0, le=1)] = later(0.0)
    """Fraction of samples in which all forcings are hidden from a random day of the second half on,
    so that the days which follow are predicted."""

    @model_validator(mode="after")
    def _ordered(self) -> MaskConfig:
        if self.window_min > self.window_max:
            raise ValueError(f"window_min {self.window_min} is above window_max {self.window_max}")
        return self


class OptimiserConfig(Frozen):
    """Settings of the optimiser, AdamW or Adadelta, and of its learning rate."""

    name: Literal["adamw", "adadelta"] = "adamw"
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_share: float = Field(0.05, ge=0, lt=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: Limit = Field(1.0, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)


class TrainConfig(Frozen):
    """Settings of a training run: windows, batches, epochs and early stopping."""

    window: int = Field(365, gt=0, le=1_000_000)
    """Number of time steps of one sample."""
    cyclic: bool = False
    """Whether the time axis is periodic (a climatology): windows then wrap around."""
    warmup_steps: int = Field(0, ge=0)
    """Number of leading time steps of a window that are in no finetuning loss and no score."""
    epochs: int = Field(30, gt=0, le=1_000_000)
    steps: Annotated[int, Field(gt=0, le=1_000_000_000)] | None = later(None)
    """Number of optimiser steps, rounded up to whole epochs; it replaces `epochs`."""
    steps_per_epoch: int | None = Field(None, gt=0, le=1_000_000)
    """Number of batches per epoch; by default as many as the locations fill."""
    windows_per_cell: int = Field(1, gt=0, le=100_000)
    """Number of windows per epoch of each location, or of each group with `one_per_group`. A set
    larger than memory is read once per epoch: with more windows, fewer epochs read it."""
    start_every: Annotated[int, Field(gt=0, le=1_000_000)] = later(1)
    """Training windows begin at every n-th time step only. Features of a frozen encoder are kept
    where they fit in memory, so that with few windows training costs little more than its head."""
    one_per_group: bool = False
    """Whether an epoch has one random location of each group, whose members are not independent
    samples (cells that share a source cell), instead of every location."""
    batch_size: int = Field(256, gt=0)
    accumulate: int = Field(1, gt=0, le=100_000)
    """Number of batches whose gradients are averaged for one step, with equal weights: the same as
    one large batch if equally many of their values are missing."""
    patience: int | None = Field(None, gt=0)
    """Number of epochs without a better validation loss after which training stops."""
    keep: Literal["best", "last"] = later("best")
    """Weights that a training ends with: those of the best validation loss, or the last ones, which
    patience then does not stop. With few validation sites, the best loss is often an early one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    gpu_precision: Literal["auto", "tf32", "float32"] = later("auto")
    """Arithmetic on an NVIDIA GPU where `precision` is float32: `auto` is bfloat16 for the steps of
    pretraining and TF32 for all else (cards since Ampere), `float32` is whole."""
    compile: bool = False
    seed: int = 0
    optimiser: OptimiserConfig = OptimiserConfig()


class PretrainConfig(TrainConfig):
    """Settings of pretraining the masked autoencoder.

    >>> PretrainConfig(window=12, mask={"window_min": 2, "window_max": 4}).mask.forcing_ratio
    0.5
    """

    mask: MaskConfig = MaskConfig()
    static_weight: float = Field(0.5, ge=0)
    pretext_weight: Annotated[float, Field(ge=0)] = later(0.5)
    """Weight of the loss of pretext targets, beside that of forcings."""
    contrastive_weight: Annotated[float, Field(ge=0)] = later(0.0)
    """Weight of a loss that pulls two windows of one site together; a batch then has two windows of
    each of its sites."""


class TreeSettings(Frozen):
    """Settings of gradient-boosted trees."""

    count: int = Field(400, gt=0, le=100_000)
    """Largest number of trees; fewer where the validation loss stops falling before."""
    lr: float = Field(0.05, gt=0, le=1)
    """Learning rate: the factor of each tree."""
    leaves: int = Field(31, ge=2, le=65_536)
    """Largest number of leaves of a tree."""
    min_samples: int = Field(20, gt=0)
    """Smallest number of samples of a leaf."""
    l2: float = Field(0.0, ge=0)
    """Strength of the penalty on the squares of the leaves' values."""


class LSTMSettings(Frozen):
    """Settings of the LSTM baseline."""

    hidden: int | None = Field(None, gt=0, le=65_536)
    """Size of the hidden state; by default `d_model` of the network."""
    forget_bias: float = 3.0
    """Initial bias of the forget gate, so that memories last from the first step on."""


class FinetuneConfig(TrainConfig):
    """Settings of finetuning: task, adapter, decoder, head and loss on the pretrained encoder.

    >>> FinetuneConfig(window=30, warmup_steps=10, head="quantile").adapter
    'dual_residual'
    """

    task: TaskName = "regression"
    """Kind of target: a quantity, a composition (soil texture) or a probability (landslides)."""
    adapter: str = "dual_residual"
    decoder: Literal["residual_lstm", "linear"] = "residual_lstm"
    head: HeadName = "gaussian"
    loss: LossName = "gaussian"
    """Loss; head and loss are by default those of the task."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout rate before the head, in addition to the dropout of the adapter."""
    baseline_dropout: Annotated[float, Field(ge=0, lt=1)] | None = later(None)
    """Dropout rate of baselines that are other networks; by default that of each (LSTM 0.4)."""
    trees: TreeSettings = later(TreeSettings())
    mc_samples: int = Field(0, ge=0, le=10_000)
    """Number of draws of MC dropout in a prediction; 0 predicts once, without dropout."""
    ensemble: int = Field(1, gt=0, le=1000)
    """Number of networks per fold, with consecutive seeds, that predict as an ensemble."""
    unfreeze: Literal["none", "all"] | Annotated[int, Field(ge=0)] = "none"
    """Trained part of the encoder: `none`, `all`, or the number of its last layers."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """Factor of the learning rate from each trained layer of a pretrained encoder to the layer
    below it; the last layer has this factor of the head's rate (Howard and Ruder 2018)."""
    head_first: Annotated[float, Field(ge=0, lt=1)] = later(0.0)
    """Fraction of the steps after which a pretrained encoder is trained as well; before, adapter,
    decoder and head are trained alone."""
    static_noise: Annotated[float, Field(ge=0)] = later(0.0)
    """Standard deviation of the noise added to normalised static attributes in training, so that
    single sites cannot be recognised by them. A frozen encoder reads them without noise,
    unless `missing_share` removes inputs of training windows."""
    missing_groups: dict[PathName, tuple[str, ...]] = later({})
    """Inputs by group that may be missing in use, such as those of a sensor that can fail: held-out
    sites are also predicted and scored without each group."""
    missing_share: Annotated[float, Field(ge=0, lt=1)] = later(0.0)
    """Fraction of the training windows from which each of `missing_groups` is removed."""
    lstm: LSTMSettings = later(LSTMSettings())
    """Settings of the LSTM baseline alone, such as `{hidden: 256}`."""
    label_fraction: Annotated[float, Field(gt=0, le=1)] = later(1.0)
    """Fraction of the training and validation sites with a target whose targets are read, to
    measure how many labels a model needs; the sites of 0.1 are among those of 0.5."""
    draw: Literal["uniform", "targets"] = later("uniform")
    """How windows of a site are drawn: all alike, or in proportion to the number of their targets
    after the warm-up, so that none without targets is drawn."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, settings: Any) -> Any:
        return with_defaults(settings) if isinstance(settings, dict) else settings

    @model_validator(mode="after")
    def _agree(self) -> FinetuneConfig:
        if wrong := disagreement(self.task, self.head, self.loss):
            raise ValueError(wrong)
        if self.mc_samples == 1:
            raise ValueError("mc_samples 1: one draw has no spread; use 0, or at least 2")
        return self

    @property
    def overlap_steps(self) -> int:
        """Number of time steps over which windows of a prediction fade into each other.

        A quarter of the steps after the warm-up: a predicted step has at least that many before it
        in addition to the warm-up, about as trained steps have. Static targets have no time.
        """
        scored = max(0, self.window - self.warmup_steps)
        return scored // 4 if values_of(self.task) == "quantity" else 0
