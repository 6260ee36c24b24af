"""Encoders with more inputs than the cells have: what is absent is hidden, never zero."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.baselines.embedding import Embedding
from stefaland.checkpoints.checkpoint import load_encoder, save_checkpoint
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.example import example_cells
from stefaland.data.missing import without
from stefaland.folds.split import make_folds
from stefaland.model.mae import StefaLand
from stefaland.prediction.embed_cells import embed_cells
from stefaland.prediction.ensemble import load
from stefaland.training.finetune import finetune

CELLS = example_cells()
FOLD = make_folds("groups", CELLS, k=3)[0]
SCALING = fit_normaliser(CELLS, CELLS.rows(FOLD.train))
FEWER = CELLS.selected(CELLS.forcing_names[:1], CELLS.static_names[:-1])
GONE = (*CELLS.forcing_names[1:], CELLS.static_names[-1])
NETWORK = ModelConfig(forcings=CELLS.forcing_names, statics=CELLS.static_names, d_model=8,
                      d_embed=4, d_feedforward=8, n_heads=2, n_encoder_layers=1)  # fmt: skip
CONFIG = FinetuneConfig(window=20, epochs=1, steps_per_epoch=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    stored = {"normaliser": SCALING.to_dict()}
    return save_checkpoint(tmp_path_factory.mktemp("encoder"), StefaLand(NETWORK).eval(), stored)


def test_a_hidden_variable_is_what_pretraining_masks_and_is_not_zero() -> None:
    torch.manual_seed(1)
    model = StefaLand(NETWORK).eval()
    table = FEWER.selected(NETWORK.forcings, NETWORK.statics, hidden=GONE)
    assert bool(table.forcings[..., 1:].isnan().all())
    gone = torch.tensor([name in GONE for name in NETWORK.forcings])
    masks = (
        gone.expand(len(CELLS), len(CELLS.time), -1),
        torch.tensor([name in GONE for name in NETWORK.statics]).expand(len(CELLS), -1),
    )
    masked = model.encode(Batch(CELLS.forcings, CELLS.statics), *masks)
    hidden = model.encode(Batch(table.forcings, table.statics))
    zeros = model.encode(Batch(table.forcings.nan_to_num(0), table.statics.nan_to_num(0)))
    torch.testing.assert_close(hidden, masked)
    assert not torch.allclose(hidden, zeros)


def test_a_network_on_hidden_inputs_reads_none_of_them_later(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"forcing {GONE[0]}: found no such variable"):
        finetune(encoder, FEWER, FOLD, CONFIG, tmp_path / "refused")
    folder = finetune(encoder, FEWER, FOLD, CONFIG, tmp_path / "made", hidden=GONE)
    model = load(folder)
    found = model.predict(FEWER)
    assert np.isfinite(found["mean"]).all()
    other = replace(CELLS, forcings=CELLS.forcings.clone())
    other.forcings[..., 1:] *= 3
    np.testing.assert_array_equal(found["mean"], model.predict(other)["mean"])
    (member,) = model.members
    vectors = embed_cells(member.model.encoder, SCALING, FEWER, 20, hidden=GONE)
    assert np.isfinite(vectors).all()


def test_an_embedding_as_features_has_the_same_inputs_hidden(encoder: Path) -> None:
    model, _ = load_encoder(encoder)
    embedding = Embedding.fit(model, SCALING, CONFIG, FEWER, hidden=GONE)
    found = embedding.compute(FEWER)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, embedding.compute(without(CELLS, GONE)))
