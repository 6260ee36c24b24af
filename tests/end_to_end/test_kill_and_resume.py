"""A run that is killed at random points and resumed writes the same bytes as an undisturbed one."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.end_to_end.small import QUICKSTART, command, digests, environment, stefaland

pytestmark = [pytest.mark.registry, pytest.mark.slow, pytest.mark.timeout(900)]
SETTINGS = (*QUICKSTART, "finetune.baselines=[climatology]")


def test_three_kills_change_no_byte_of_cubes_and_predictions(tmp_path: Path) -> None:
    began = time.monotonic()
    whole = stefaland(tmp_path / "whole", "quickstart", SETTINGS, "run", "--until", "predict")
    assert whole.returncode == 0, whole.stderr
    duration = time.monotonic() - began
    chance = random.Random(20261123)
    for _ in range(3):
        process = subprocess.Popen(
            command("quickstart", SETTINGS, "run", "--until", "predict"),
            cwd=ROOT, env=environment(tmp_path / "killed"), stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            process.wait(timeout=chance.uniform(0.25, 0.7) * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    resumed = stefaland(tmp_path / "killed", "quickstart", SETTINGS, "run", "--until", "predict")
    assert resumed.returncode == 0, resumed.stderr
    for part in ("cubes", "folds", "stats", "predictions"):
        expected = digests(tmp_path / "whole" / "quickstart" / part)
        assert expected
        assert digests(tmp_path / "killed" / "quickstart" / part) == expected
