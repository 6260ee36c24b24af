"""Runs map the model that `predict.model` names, or the best on the validation cells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from stefaland.baselines.fitted import FITTED, load_fitted
from stefaland.data.cell_data import CellData
from stefaland.prediction.ensemble import load
from stefaland.prediction.stack import STACK, load_stack
from tests.workflows.tiny import write_tiny
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data, open_cells
from workflows.products.heldout import VALIDATION
from workflows.run import Run
from workflows.stages.mapped import mapped_model
from workflows.stages.order import run_stages

MAPS = ("publish.products=[{cube: globe, suffix: globe}]", "publish.legend=soil_moisture",
        "publish.spread_legend=soil_moisture_spread", "finetune.head=quantile",
        "finetune.baselines=[ridge, lstm, climatology]",
        "finetune.stack={both: [stefaland, ridge]}", "model.settings={d_model: 8}")  # fmt: skip


def test_unknown_models_and_persistence_are_refused(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    for name, message in (("rigde", 'Did you mean "?ridge'), ("lstm", "no model"),
                          ("persistence", "no model|reads observations")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            load_config(config, [f"predict.model={name}"])


def _mean(folder: Path, data: CellData) -> np.ndarray:
    """The mean of the model of a fold, without its maps."""
    if (folder / STACK).exists():
        stack = load_stack(folder)
        parts = [_mean(folder.parents[1] / model / folder.name, data) for model in stack.models]
        return np.tensordot(stack.weights, np.stack(parts), 1)
    kept = load_fitted(folder) if (folder / FITTED).exists() else load(folder)
    return kept.predict(data)["mean"]


@pytest.mark.slow
def test_every_model_can_be_mapped_and_the_best_is(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    run = Run(load_config(config, MAPS))
    run_stages(run, "check", "report")
    best = open_cube(run.prediction("globe")).attrs
    assert best["model"] == mapped_model(run).model
    assert best["model_choice"].endswith("models on validation cells by pooled NSE")
    # The best by its own validation scores is the one that a spoiled store of it loses to.
    folders = [run.finetuned(best["model"], f"block{i}") for i in range(2)]
    kept = {}
    for folder in folders:
        kept[folder] = tmp_path / folder.name
        shutil.copytree(folder / VALIDATION, kept[folder])
        spoiled = open_cube(folder / VALIDATION).load()
        write_locations(folder / VALIDATION, spoiled.assign(mean=-9 * spoiled["mean"]))
    assert mapped_model(run).model != best["model"]
    for folder in folders:
        shutil.rmtree(folder / VALIDATION)
    assert mapped_model(run).model != best["model"], "a model without scores is not ranked"
    for folder, copy in kept.items():
        shutil.copytree(copy, folder / VALIDATION)

    assert json.loads(run.scorecard.read_text())["ranking"].count("both") == 1
    for model in ("ridge", "lstm", "climatology", "both"):
        chosen = Run(load_config(config, [*MAPS, f"predict.model={model}"]))
        run_stages(chosen, "predict", "report")
        maps = open_cube(chosen.prediction("globe"))
        assert maps.attrs["model"] == model
        assert ("soil_moisture_p05" in maps) == (model == "lstm")
        cells = open_cells(chosen.cube("globe"), chosen.config.inputs).load()
        data = cell_data(cells, chosen.config.inputs)
        folders = [chosen.finetuned(model, f"block{i}") for i in range(2)]
        of_folds = [_mean(folder, data) for folder in folders]
        flat = maps["soil_moisture"].values.reshape(12, -1)[:, data.cell.numpy()]
        np.testing.assert_allclose(flat.T, np.mean(of_folds, 0)[..., 0], rtol=1e-5)
        sentence = f"The maps are of {model}: predict.model names it."
        card = json.loads(chosen.scorecard.read_text())
        assert card["mapped"]["sentence"] == sentence
        assert sentence in (chosen.folder / "report.html").read_text()
        item = json.loads((chosen.maps / "soil_moisture_globe.json").read_text())
        assert item["properties"]["description"].endswith(sentence)
