"""Maps of stacks: each fold's models with its weights, and the folds as an equal mixture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.prediction.calibration import Calibration
from stefaland.prediction.stack import STACK, Stack, load_stack
from workflows.inputs.map_model import unmappable
from workflows.inputs.stacked_map import StackedMapModel


@dataclass(frozen=True)
class Constant:
    """A model that predicts one value everywhere."""

    mean: float
    spread: float
    flag: tuple[int, ...]
    static_names: tuple[str, ...] = ("clay",)
    has_quantiles: bool = True

    def boundaries(self, n_steps: int) -> list[int]:
        return [int(self.mean)]

    def predictor(self, *settings: Any) -> Any:
        shape = (3, 2, 1)
        found = {
            "mean": np.full(shape, self.mean, np.float32),
            "spread": np.full(shape, self.spread, np.float32), "flag": np.array(self.flag, "u1"),
        }  # fmt: skip
        return lambda tables: ((key, found) for key, *_ in tables)


def test_weights_are_those_of_each_fold() -> None:
    one = Stack(("a", "b"), (0.25, 0.75), calibration=Calibration(spread_factor=(2.0,)))
    model = StackedMapModel(
        [one, Stack(("b",), (1.0,))],
        [[Constant(1.0, 0.5, (0, 1, 3)), Constant(3.0, 0.5, (0, 1, 3))],
         [Constant(4.0, 0.5, (1, 1, 3), ("clay", "sand"))]],
    )  # fmt: skip
    assert model.static_names == ("clay", "sand")
    assert model.boundaries(9) == [1, 3, 4]
    assert not model.has_quantiles
    predict = model.predictor("regression", 8, torch.device("cpu"), torch.float32)
    (first, found), (second, _) = predict([("x", None, None), ("y", None, None)])
    assert (first, second) == ("x", "y")
    np.testing.assert_allclose(found["mean"], (2.5 + 4.0) / 2)
    of_folds = np.array([4 * (0.25 + 0.25 * 1.5**2 + 0.75 * 0.5**2), 0.25])
    np.testing.assert_allclose(found["spread"] ** 2, of_folds.mean() + 0.75**2, rtol=1e-6)
    assert found["flag"].tolist() == [0, 1, 3]


def test_stacks_are_kept_checked_and_need_models_that_are(tmp_path: Path) -> None:
    folder = tmp_path / "stack" / "fold"
    stack = Stack(("a", "b"), (0.0, 1.0), calibration=Calibration(spread_factor=(1.5,)))
    folder.mkdir(parents=True)
    path = stack.save(folder)
    assert load_stack(folder) == stack
    assert load_stack(folder).used.models == ("b",)
    assert unmappable([folder], []).startswith("of its model b it is not kept")
    good = json.loads(path.read_text())
    for wrong in ({**good, "weights": [0.5, 0.2]}, {**good, "weights": [1.0]}, [], {},
                  {**good, "models": ["../a", "b"]}, {**good, "weights": [-1.0, 2.0]}):  # fmt: skip
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=STACK):
            load_stack(folder)
    path.unlink()
    with pytest.raises(InputError, match="the weights of a stack"):
        load_stack(folder)
