"""Pretraining tasks beyond masking."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.checkpoints.checkpoint import load_checkpoint
from stefaland.config import MaskConfig, ModelConfig, OptimiserConfig, PretrainConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.sampler import Sampler
from stefaland.data.windows import Windows
from stefaland.folds.split import make_folds
from stefaland.training.pretext import contrastive_loss, simulated, with_pretext
from stefaland.training.pretrain import pretrain
from stefaland.training.reconstruction import MaskedReconstruction
from tests.synthetic import daily_cells

DATA = daily_cells(16, 60)
FOLD = make_folds("groups", DATA, k=2)[0]
NETWORK = ModelConfig(
    forcings=DATA.forcing_names, statics=DATA.static_names, d_model=8, d_embed=4, n_heads=2,
    d_feedforward=8, n_encoder_layers=1, max_tokens=100,
)  # fmt: skip
QUICK = PretrainConfig(window=20, epochs=2, batch_size=4, mask={"window_min": 2, "window_max": 6})
NAMES = ("simulated_soil_water", "observed_wetness")


def test_hbv_simulates_soil_water_that_rain_fills(tmp_path: Path) -> None:
    water = simulated(DATA, ["simulated_soil_water", "simulated_runoff"])
    assert water.shape == (16, 60, 2)
    assert torch.isfinite(water).all()
    assert (water >= 0).all()
    wetter = replace(DATA, forcings=DATA.forcings * torch.tensor([2.0, 1.0]))
    assert (simulated(wetter, ["simulated_soil_water"])[..., 0] >= water[..., 0]).all()
    with pytest.raises(InputError, match='Did you mean "simulated_runoff"'):
        simulated(DATA, ["simulated_run_off"])
    months = np.arange("2001-01", "2006-01", dtype="datetime64[M]").astype("datetime64[s]")
    monthly = replace(DATA, time=months)
    with pytest.raises(InputError, match="daily time steps"):
        simulated(monthly, ["simulated_runoff"])


def test_pretext_targets_are_learnt_and_never_read_as_inputs(tmp_path: Path) -> None:
    wetness = replace(
        DATA, target=DATA.forcings.sum(-1, keepdim=True), target_names=("observed_wetness",)
    )
    table = with_pretext(DATA, wetness, NAMES)
    assert table.target_names == NAMES
    network = NETWORK.model_copy(update={"pretext": NAMES})
    inputs = (*DATA.forcing_names, *DATA.static_names)
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train), names=inputs)
    config = QUICK.model_copy(
        update={"epochs": 80, "pretext_weight": 5.0, "optimiser": OptimiserConfig(lr=1e-2)}
    )
    # Without validation the weights are the last, not those of the best reconstruction.
    fold = replace(FOLD, validation=FOLD.validation[:0])
    folder = pretrain(table, fold, network, config, normaliser, tmp_path / "one")
    model = load_checkpoint(folder)[0]
    tested = Windows(DATA.subset(FOLD.test), normaliser, 20)
    windows = tested.gather(torch.arange(len(tested)), torch.zeros(len(tested)).long())
    with torch.inference_mode():
        guess = model(windows).pretext[..., 1]
    wet = wetness.subset(FOLD.test).target[:, :20, 0]
    assert float(torch.corrcoef(torch.stack([guess.flatten(), wet.flatten()]))[0, 1]) > 0.3
    stored = json.loads((folder / "data.json").read_text())
    assert not set(NAMES) & {*stored["normaliser"], *stored["forcings"], *stored["statics"]}
    batch = Batch(torch.zeros(2, 20, 2), torch.zeros(2, 3))
    assert model(batch).pretext.shape == (2, 20, 2)
    assert model.encode(batch).shape == (2, 21, 8)
    with pytest.raises(InputError, match="observed_wetness: found no value"):
        pretrain(
            with_pretext(DATA, None, NAMES), FOLD, network, QUICK, normaliser, tmp_path / "two"
        )


def test_windows_of_one_site_are_pulled_together() -> None:
    cells = torch.tensor([1, 1, 2, 2, 3])
    apart, together = torch.randn(2, 5, 7, 6, generator=torch.Generator().manual_seed(0)).unbind()
    together = together.clone()
    together[1], together[3] = together[0], together[2]
    assert contrastive_loss(together, cells) < 0.5 * contrastive_loss(apart, cells)
    days = apart.clone().requires_grad_()
    contrastive_loss(days, cells).backward()
    assert torch.isfinite(days.grad).all()
    assert float(contrastive_loss(apart, torch.arange(5))) == 0.0
    draws = Sampler(
        rows=np.arange(10), starts=(0, 40), batch_size=4, pairs=True, steps_per_epoch=3
    ).epoch(0)
    for draw in draws:
        _, counts = np.unique(draw.rows.numpy(), return_counts=True)
        assert (counts % 2 == 0).all()
    pairs = torch.cat([draw.starts for draw in draws])
    assert len(np.unique(pairs.numpy())) > 6


def test_the_days_that_follow_are_hidden_in_their_share_of_the_samples() -> None:
    config = PretrainConfig(
        window=20, mask=MaskConfig(window_min=2, window_max=4, future_share=0.5)
    )
    objective = MaskedReconstruction(NETWORK, config)
    batch = Batch(torch.zeros(1000, 20, 2), torch.zeros(1000, 3))
    hidden, _ = objective.masks(batch, torch.Generator().manual_seed(0))
    ends = hidden[:, -1].all(-1) & (~hidden).any(1).all(-1)
    steps = hidden.int().diff(dim=1)
    future = ends & (steps >= 0).all((1, 2)) & (steps.abs().sum(1) == 1).all(-1)
    future &= (hidden[..., 0] == hidden[..., 1]).all(1)
    assert 0.4 < float(future.double().mean()) < 0.62
    first = hidden[future][..., 0].int().argmax(1)
    assert first.min() >= 10


@pytest.mark.parametrize("change", [{"contrastive_weight": 0.1}, {"mask": {"future_share": 0.5}}])
def test_each_task_is_off_by_default_and_changes_the_weights(
    tmp_path: Path, change: dict[str, object]
) -> None:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    settings = QUICK.model_dump()
    assert not {"contrastive_weight", "pretext_weight"} & set(settings)
    mask = {**settings["mask"], **change.pop("mask", {})}  # type: ignore[dict-item]
    weights = []
    for name, config in (("plain", QUICK), ("task", PretrainConfig(**{**settings, **change,
                                                                     "mask": mask}))):  # fmt: skip
        folder = pretrain(DATA, FOLD, NETWORK, config, normaliser, tmp_path / name)
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]
