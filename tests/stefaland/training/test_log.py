from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from stefaland.checkpoints.card import model_card, table
from stefaland.training.log import RunLog


def test_json_lines_carry_the_rate_and_the_title(tmp_path: Path) -> None:
    with RunLog(tmp_path, title="pretrain one") as log:
        log.epoch(0, 2, 640.0, {"epoch": 0.0, "loss": 1.5})
        log.write({"note": "half way"})
    lines = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] == 1.5
    assert lines[0]["samples_per_second"] > 0
    assert lines[1] == {"title": "pretrain one", "note": "half way"}


def test_without_a_folder_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with RunLog(None) as log:
        log.epoch(0, 2, 640.0, {"epoch": 0.0, "loss": 1.5})
    assert capsys.readouterr() == ("", "")


def test_tensorboard_is_used_on_request(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(InputError, match="pip install tensorboard"):
            RunLog(tmp_path, tensorboard=True)
        return
    with RunLog(tmp_path, tensorboard=True) as log:
        log.write({"epoch": 1.0, "loss": 2.0})
    assert list((tmp_path / "tensorboard").iterdir())


def test_card_lists_variables_training_and_calibration() -> None:
    data = {
        "targets": ["soil_moisture"],
        "units": {"rain": "mm/day", "soil_moisture": "m3 m-3"},
        "normaliser": {
            "rain": {"mean": 2.0, "std": 1.0, "transform": "log", "minimum": 0.0, "maximum": 9.5}
        },
        "spread_factor": [1.25],
        "training": {"fold": "africa", "cells": 12, "best": {"validation_loss": 0.123456}},
    }
    text = model_card(
        "StefaLand",
        {"forcings": ["rain"], "statics": ["clay"], "categorical": {"rock": 3}},
        data,
        9,
    )
    assert "| rain | forcing | mm/day | log | 2 | 1 | 0 | 9.5 |" in text
    assert "| soil_moisture | target | m3 m-3 |" in text
    assert "| rock | static, 3 classes |" in text
    assert "| fold | africa |" in text
    assert "0.12346" in text
    assert "times 1.25" in text
    assert "divided by 1.5" in model_card("Probability", {}, {"temperature": 1.5}, 9)
    shifted, zeros = ({"quantile_shift": [[-width, 0.0, width]]} for width in (0.2, 0.0))
    assert "Quantiles are shifted" in model_card("Quantiles", {}, shifted, 9)
    assert "shifted" not in model_card("Quantiles", {}, zeros, 9)
    assert "Not trained" in model_card("StefaLand", {}, {}, 0)
    assert table(["a"], [["1"]]) == "| a |\n| --- |\n| 1 |"
