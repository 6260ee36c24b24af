"""Inputs that may be missing in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.config import FinetuneConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.missing import Dropping, partly_without, without
from stefaland.prediction.ensemble import load
from stefaland.training.finetune import finetune
from tests.stefaland.training.test_pretrain import DATA, FOLD, model_config

GROUPS = {"rain": ("precipitation",), "soil": ("clay", "wetness_index")}


def test_each_group_is_removed_whole_from_its_share_of_the_windows() -> None:
    batch = Batch(torch.zeros(4000, 5, 2), torch.zeros(4000, 3))
    dropping = Dropping.of(GROUPS, 0.3, ("air", "precipitation"), ("clay", "x", "wetness_index"))
    whole = dropping(batch, 4000, slice(0, 4000), torch.Generator().manual_seed(0))
    rain, soil = whole.forcings[..., 1].isnan(), whole.statics.isnan()
    assert torch.equal(rain.all(1), rain.any(1))
    assert torch.equal(soil[:, 0], soil[:, 2])
    assert not whole.forcings[..., 0].isnan().any()
    assert not soil[:, 1].any()
    both = [float(gone.double().mean()) for gone in (rain, soil[:, 0], rain.any(1) & soil[:, 0])]
    np.testing.assert_allclose(both, [0.3, 0.3, 0.09], atol=0.03)
    # Two ranks remove the same as one process.
    parts = [slice(0, 1500), slice(1500, 4000)]
    halves = [
        dropping(Batch(batch.forcings[part], batch.statics[part]), 4000, part,
                 torch.Generator().manual_seed(0))
        for part in parts
    ]  # fmt: skip
    assert torch.equal(torch.cat([half.statics.isnan() for half in halves]), soil)
    assert not batch.forcings.isnan().any()


def test_a_network_trained_without_an_input_at_times_needs_it_less(tmp_path: Path) -> None:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    test = DATA.subset(FOLD.test)
    errors = {}
    for share in (0.0, 0.4):
        config = FinetuneConfig(
            window=12, cyclic=True, epochs=12, batch_size=32, missing_groups=GROUPS,
            missing_share=share, optimiser={"lr": 3e-3},
        )  # fmt: skip
        folder = finetune(None, DATA, FOLD, config, tmp_path / str(share),
                          model_config=model_config(), normaliser=normaliser)  # fmt: skip
        found = load(folder).predict(without(test, ["precipitation"]))["mean"]
        errors[share] = float(np.nanmean((found - test.target.numpy()) ** 2) ** 0.5)
    assert errors[0.4] < 0.8 * errors[0.0]


def test_tables_lose_groups_and_unknown_names_are_refused() -> None:
    part = partly_without(DATA, GROUPS, 0.5, seed=1)
    gone = part.forcings[..., DATA.forcing_names.index("precipitation")].isnan().all(1)
    assert 0.3 < gone.double().mean() < 0.7
    assert torch.equal(part.target, DATA.target)
    with pytest.raises(InputError, match='Did you mean "precipitation"'):
        without(DATA, ["precipitaton"])
