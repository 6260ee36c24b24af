"""Integers of configs and catalogs from which loops and memory follow have limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.entries.values import Mask
from stefaland.config import ModelConfig
from tests.workflows.tiny import write_tiny
from workflows.config.load import load_config

HUGE = 10**15


@pytest.mark.parametrize(
    "key",
    [
        "cluster.workers", "cluster.slurm.jobs", "cluster.slurm.parts", "cluster.slurm.processes",
        "finetune.ensemble", "finetune.mc_samples", "finetune.epochs", "pretrain.window",
        "pretrain.steps_per_epoch", "pretrain.windows_per_cell", "pretrain.accumulate", "folds.k",
        "inputs.fill_distance", "score.examples",
    ],
)  # fmt: skip
def test_numbers_without_end_are_refused_by_name(tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"{key}: found {HUGE}; expected less than or equal to"):
        load_config(write_tiny(tmp_path), [f"{key}={HUGE}"])


@pytest.mark.parametrize("side", [0, -1, 10**23])
def test_tiles_without_cells_or_end_are_refused(tmp_path: Path, side: int) -> None:
    with pytest.raises(InputError, match=r"cubes\.globe\.tile\.1: found"):
        load_config(write_tiny(tmp_path), [f"cubes.globe.tile=[6, {side}]"])


@pytest.mark.parametrize(
    "key", ["d_model", "d_embed", "d_feedforward", "n_encoder_layers", "max_tokens"]
)
def test_sizes_of_networks_have_limits(key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key}\n.*less than or equal to"):
        ModelConfig.model_validate({"forcings": ("a",), "statics": ("b",), key: HUGE})
    with pytest.raises(ValidationError, match=r"categorical\.soil\n.*less than or equal to"):
        ModelConfig(forcings=("a",), statics=("b",), categorical={"soil": HUGE})


def test_bits_beyond_those_of_a_flag_are_refused() -> None:
    assert Mask(name="qa", bits={"60-63": 1}).groups[0].count == 4
    with pytest.raises(ValidationError, match="bits up to 999999999999 of flags that have 64"):
        Mask(name="qa", bits={"0-999999999999": 0})
