"""Inputs that may be missing: held-out cells are predicted, scored and reported without them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.config.load import load_config
from workflows.run import Run
from workflows.stages import check


@pytest.mark.slow
def test_scores_without_a_group_are_those_of_predictions_without_it(tmp_path: Path) -> None:
    groups = "finetune.missing_groups={terrain: [elevation]}"
    words = ["run", str(write_tiny(tmp_path)), "--set", groups, "--set",
             "finetune.missing_share=0.3"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 0
    folder = tmp_path / "runs" / "tiny"
    card = json.loads((folder / "scorecard.json").read_text())
    assert set(card["without"]["terrain"]) == {"stefaland", "ridge"}
    stores = [folder / f"finetuned/ridge/block0/{name}.zarr"
              for name in ("heldout", "heldout_without_terrain")]  # fmt: skip
    whole, less = (open_cube(path)["mean"].values for path in stores)
    assert np.isfinite(less).sum() == np.isfinite(whole).sum()
    assert not np.allclose(whole, less, equal_nan=True)
    page = (folder / "report.html").read_text()
    assert "Without some inputs" in page
    value = card["without"]["terrain"]["ridge"]["NSE"]
    assert f"<td>{value:.3f}</td>" in page


def test_groups_of_no_inputs_are_refused_before_any_compute(tmp_path: Path) -> None:
    config = load_config(write_tiny(tmp_path), ["finetune.missing_groups={terrain: [elevatoin]}"])
    with pytest.raises(InputError, match='Did you mean "elevation"'):
        check.main(Run(config))
