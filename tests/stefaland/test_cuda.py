"""The same network, training and maps on a GPU as on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.checkpoints.import_published import load_reference
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.model.losses import masked_loss
from stefaland.model.mae import StefaLand
from stefaland.model.masking import group_mask, window_mask
from stefaland.prediction.member import load_member
from stefaland.prediction.predict import predict_cells, predict_tables
from stefaland.training.finetune import finetune
from stefaland.training.pretrain import pretrain
from tests.stefaland.checkpoints.test_import_published import (
    FOLDERS,
    Vectors,
    needs_reference,
    shared,
)
from tests.stefaland.training.test_finetune import QUICK
from tests.stefaland.training.test_pretrain import CONFIG, DATA, FOLD, model_config, run

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
WHOLE = CONFIG.model_copy(update={"gpu_precision": "float32"})


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Disable TF32, whose products have a precision of ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def to_gpu(data: Any) -> Any:
    return tuple(tensor.cuda() for tensor in data)


@shared
@needs_reference
@pytest.mark.parametrize("name", FOLDERS)
def test_outputs_and_loss_are_the_published_ones(name: str) -> None:
    vectors = Vectors(name)
    model, _ = load_reference(vectors.checkpoint, reference_static_mask=True)
    batch, masks = vectors.batch.to("cuda"), to_gpu(vectors.masks)
    with torch.no_grad():
        found = model.cuda().eval()(batch, *masks)
    expected = vectors.tensor("reconstructed_forcings")
    torch.testing.assert_close(found.forcings.cpu(), expected, atol=1e-5, rtol=1e-5)
    loss, _ = masked_loss(found, batch, *masks, static_weight=0.5)
    assert float(loss) == pytest.approx(float(vectors.arrays["loss"]), abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{}, {"decoder": "transformer"}, {"tokens": "patch", "patch_length": 4, "patch_stride": 2},
     {"positions": "rotary", "norm_first": True, "activation": "gelu", "noise_head": True}],
)  # fmt: skip
def test_outputs_and_gradients_equal_those_of_the_cpu(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = StefaLand(model_config(dropout=0.0, **settings))
    batch = Batch(torch.randn(5, 12, 2), torch.randn(5, 2))
    batch.forcings[0, :5] = torch.nan
    masks = (window_mask((5, 12, 2), 0.5, 2, 5), group_mask(batch, model.config, 0.5))
    gradients = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        there, hidden = batch.to(device), tuple(mask.to(device) for mask in masks)
        loss, _ = masked_loss(model(there, *hidden), there, *hidden)
        loss.backward()
        found = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
        gradients.append({"loss": loss.detach().cpu(), **found})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, atol=2e-5, rtol=1e-3)


def test_masks_drawn_on_the_gpu_hold_the_exact_share() -> None:
    generator = torch.Generator("cuda").manual_seed(1)
    mask = window_mask((64, 365, 6), 0.5, 30, 90, generator, "cuda")
    assert mask.is_cuda
    assert (mask.sum(1) == 182).all()
    batch = Batch(torch.zeros(64, 12, 2), torch.zeros(64, 2)).to("cuda")
    hidden = group_mask(batch, model_config(), 0.5, generator)
    assert (hidden.sum(1) == 1).all()


def on_gpu(folder: Path, data: CellData = DATA, **settings: Any) -> Path:
    config = WHOLE.model_copy(update=settings)
    normaliser = fit_normaliser(data, data.rows(FOLD.train))
    return pretrain(data, FOLD, model_config(), config, normaliser, folder, device="cuda")


def best(folder: Path) -> dict[str, float]:
    figures: dict[str, float] = json.loads((folder / "data.json").read_text())["training"]["best"]
    return figures


@pytest.mark.parametrize("compiled", [False, True])
def test_pretraining_in_bfloat16_learns_as_well_as_in_float32(
    tmp_path: Path, compiled: bool
) -> None:
    settings = {"epochs": 60, "batch_size": 32}
    whole = best(on_gpu(tmp_path / "whole", **settings))
    half = best(on_gpu(tmp_path / "half", **settings, precision="bfloat16", compile=compiled))
    assert whole["validation_forcing_skill"] > 0.4
    assert half["validation_forcing_skill"] > whole["validation_forcing_skill"] - 0.15


def test_the_arithmetic_of_a_gpu_by_default_stays_within_its_bounds(tmp_path: Path) -> None:
    settings = {"epochs": 60, "batch_size": 32}
    whole = best(on_gpu(tmp_path / "whole", **settings))
    reduced = best(on_gpu(tmp_path / "auto", **settings, gpu_precision="auto"))
    # Skill of hidden forcings in bfloat16, and the error of finetuning in TF32.
    assert reduced["validation_forcing_skill"] > whole["validation_forcing_skill"] - 0.15
    errors = []
    for precision in ("float32", "auto"):
        config = QUICK.model_copy(update={"epochs": 10, "gpu_precision": precision})
        folder = finetune(
            None, DATA, FOLD, config, tmp_path / precision, model_config=model_config(),
            normaliser=fit_normaliser(DATA, DATA.rows(FOLD.train)), device="cuda",
        )  # fmt: skip
        errors.append(best(folder)["validation_rmse"])
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    # The setting of torch is that of before.
    assert not torch.backends.cudnn.allow_tf32


def test_a_gpu_trains_as_the_cpu_does(tmp_path: Path) -> None:
    cpu = best(run(tmp_path / "cpu", dropout=0.0))
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    folder = pretrain(
        DATA, FOLD, model_config(dropout=0.0), WHOLE, normaliser, tmp_path / "gpu", device="cuda"
    )
    # Masks are drawn where the data are, by another generator.
    assert best(folder)["validation_loss"] == pytest.approx(cpu["validation_loss"], rel=0.1)


def test_a_loss_of_nan_names_its_own_step_and_cells(tmp_path: Path) -> None:
    bad = int(DATA.rows(FOLD.train)[7])
    statics = DATA.statics.clone()
    statics[bad] = 3e38
    config = WHOLE.model_copy(update={"batch_size": 2, "epochs": 3})
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    spoilt = replace(DATA, statics=statics)
    with pytest.raises(InputError, match=r"a loss of (nan|inf)"):
        pretrain(spoilt, FOLD, model_config(), config, normaliser, tmp_path, device="cuda")
    saved = json.loads((tmp_path / "training" / "nan_cells.json").read_text())
    assert int(DATA.cell[bad]) in saved["cells"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_of_a_gpu_are_those_of_the_cpu(tmp_path: Path, dtype: torch.dtype) -> None:
    members = []
    for seed in (1, 2):
        config = QUICK.model_copy(update={"seed": seed, "epochs": 4})
        folder = finetune(
            None, DATA, FOLD, config, tmp_path / str(seed), model_config=model_config(),
            normaliser=fit_normaliser(DATA, DATA.rows(FOLD.train)),
        )  # fmt: skip
        members.append(load_member(folder))
    expected = predict_cells(members, DATA)
    rows = torch.arange(len(DATA)).split(17)
    tables = [(i, DATA.take(part), None) for i, part in enumerate(rows)]
    found = list(predict_tables(members, tables, batch_size=25, device="cuda", dtype=dtype))
    assert [key for key, _ in found] == list(range(len(rows)))
    rounding = 1e-4 if dtype == torch.float32 else 0.03
    for name in ("mean", "spread"):
        joined = np.concatenate([values[name] for _, values in found])
        scale = float(np.nanstd(expected["mean"]))
        np.testing.assert_allclose(joined, expected[name], atol=rounding * scale, rtol=rounding)
