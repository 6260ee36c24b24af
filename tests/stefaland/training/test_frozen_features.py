"""Features of a frozen encoder that are kept are those that it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stefaland.config import FinetuneConfig, OptimiserConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.sampler import Draw
from stefaland.data.windows import Windows
from stefaland.model.finetuned import FinetunedModel
from stefaland.prediction.member import load_member
from stefaland.training import frozen_features
from stefaland.training.finetune import finetune
from stefaland.training.frozen_features import FrozenFeatures
from tests.stefaland.training.test_pretrain import DATA, FOLD, model_config

NORMALISER = fit_normaliser(DATA, DATA.rows(FOLD.train))
RECIPE = FinetuneConfig(
    window=12, cyclic=True, epochs=3, batch_size=32, seed=3, optimiser=OptimiserConfig(lr=3e-3)
)


def windows_of(rows: list[int], starts: list[int]) -> Draw:
    return Draw(torch.tensor(rows), torch.tensor(starts), slice(0, len(rows)))


def test_bits_of_features_do_not_depend_on_what_is_known() -> None:
    model = FinetunedModel(model_config(), RECIPE).eval()
    source = Windows(DATA, NORMALISER, 12, cyclic=True)
    draws = [windows_of([0, 3, 5, 3], [1, 2, 0, 2]), windows_of(list(range(20)), [2] * 20)]
    warm, cold = FrozenFeatures(source, model), FrozenFeatures(source, model)
    first, second = (batch.features for batch in warm.batches(draws))
    (alone,) = (batch.features for batch in cold.batches(draws[1:]))
    (again,) = (batch.features for batch in warm.batches(draws[:1]))
    assert torch.equal(second, alone)
    assert torch.equal(first, again)
    assert torch.equal(first[1], second[3])
    (whole,) = source.batches(draws[:1])
    torch.testing.assert_close(first, model.features(whole), rtol=1e-5, atol=1e-6)
    held = FrozenFeatures(source, model, frozenset([(0, 1), (3, 2)]))
    assert [held_batch.features.shape[0] for held_batch in held.batches(draws)] == [4, 20]
    assert {*held._kept} == {(0, 1), (3, 2)}


@pytest.mark.parametrize("settings", [{}, {"static_noise": 0.1}, {"missing_share": 0.5}])
def test_a_frozen_encoder_reads_a_window_once_unless_its_inputs_change(
    settings: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = FinetunedModel.features
    recipe = RECIPE.model_copy(
        update={"start_every": 12, "missing_groups": {"rain": ("precipitation",)}, **settings}
    )

    def counted(model: FinetunedModel, batch: Batch) -> torch.Tensor:
        sizes.extend([len(batch)] if batch.features is None else [])
        return encode(model, batch)

    def trained(name: str) -> dict[str, np.ndarray]:
        folder = finetune(
            None, DATA, FOLD, recipe, tmp_path / name, model_config=model_config(),
            normaliser=NORMALISER, random_encoder=True,
        )  # fmt: skip
        return {k: v.numpy() for k, v in load_member(folder).model.state_dict().items()}

    monkeypatch.setattr(FinetunedModel, "features", counted)
    kept = trained("kept")
    once = len(FOLD.train) + len(FOLD.validation)
    assert (sum(sizes) < once + 16) is ("missing_share" not in settings)
    monkeypatch.setattr(frozen_features, "MEMORY_SHARE", 0.0)
    for key, value in trained("each time").items():
        np.testing.assert_array_equal(kept[key], value)
