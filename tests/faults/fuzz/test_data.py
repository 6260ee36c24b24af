"""Damaged files of data: the values that they hold, or a clear error; no crash, hang or flood."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from pipeline.core.errors import bad_input
from tests.faults.fuzz.campaign import SECONDS, reproduce, run_campaign
from tests.faults.fuzz.data_files import FORMATS, example
from tests.faults.fuzz.mutate import damaged_bytes, damaged_value
from tests.faults.fuzz.oracle import FindingError, outcome

CRASHING = ("grib",)
"""Formats whose C library aborts at damaged bytes (ecCodes): SECURITY.md promises no more."""
HANGING = ("netcdf4", "packed", "hdf5")
"""Formats whose C library (HDF5) may loop for ever at damaged bytes; `task_seconds` ends a task."""


def test_damages_repeat_by_their_seed() -> None:
    def both(seed: int) -> tuple[bytes, str]:
        rng = random.Random(seed)
        return damaged_bytes(bytes(100), rng), repr(damaged_value({"a": [1, {"b": 2}]}, rng))

    assert both(5) == both(5) != both(6)


def test_the_oracle_refuses_what_is_unclear() -> None:
    def fails(error: Exception) -> None:
        raise error

    assert outcome(lambda: 3) == 3
    outcome(lambda: fails(bad_input("a", "b", "c")))
    for error in (ValueError("x"), bad_input("", "b", "c"), KeyError("x")):
        with pytest.raises(FindingError):
            outcome(lambda error=error: fails(error))


@pytest.mark.parametrize("name", ["npz", "csv"])
def test_a_few_damaged_files_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    assert {example(name, seed, tmp_path) for seed in range(4)} <= {"read", "refused"}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    if name == "grib" and importlib.util.find_spec("cfgrib") is None:
        pytest.skip("cfgrib is not installed")
    campaign = run_campaign(name, 0.95 * SECONDS / len(FORMATS), 10**9, tmp_path)
    found = list(campaign.findings)
    found += campaign.crashes if name not in CRASHING else []
    found += campaign.hangs if name not in HANGING else []
    assert not found, "\n".join([*found, reproduce(name)])
    assert campaign.counts["refused"] + campaign.counts["read"] > 0
