"""Check and plan decode a bounded sample, however long a series is."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline.sources.check_values
import workflows.commands.plan
from benchmarks.inflated import counting
from pipeline.build import template_of
from pipeline.core.errors import Faults
from pipeline.sources.overlap import check_on_grids
from tests.workflows.commands.test_plan_blocks import rain_task
from workflows.commands.plan import cube_plans

MAPS = 150
"""Number of maps that check and plan may decode together: 16 blocks of four steps, and trials."""


@pytest.mark.parametrize("days", [400, 1600])
def test_check_and_plan_decode_a_bounded_number_of_maps(
    days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.sources.check_values, "WHOLE_BYTES", 1 << 16)
    # The plan times as many steps as take this long to read, two at least.
    monkeypatch.setattr(workflows.commands.plan, "TIMED_SECONDS", 0.0)
    task, faults = rain_task(tmp_path, days, 10.0), Faults()
    (source,), one = task.sources, 4 * 18 * 36
    with counting() as decoded:
        check_on_grids(source, {"globe": task.grid}, task.variables, faults)
        assert 0 < decoded["rain"] < MAPS * one
        cube_plans([("a", template_of(task, (9, 18)), task)], 1, tmp_path)
    assert decoded["rain"] < MAPS * one
    faults.raise_if_any()
