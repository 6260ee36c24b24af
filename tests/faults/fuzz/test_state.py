"""Damaged files of state: the same result, work that is done again, or a clear error."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import note

from tests.faults.fuzz.campaign import SECONDS
from tests.faults.fuzz.explore import EXAMPLES, explore
from tests.faults.fuzz.state import STATES, check_state


def _explore(name: str, folder: Path, seconds: float, examples: int) -> None:
    def check(rng: random.Random) -> None:
        note(check_state(name, rng, folder))

    explore(check, seconds, examples)


@pytest.mark.parametrize("name", ["manifest", "fold", "published", "contents"])
def test_a_few_damaged_states_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    _explore(name, tmp_path, 0, 8)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("name", STATES)
def test_damaged_states_are_read_right_or_refused(name: str, tmp_path: Path) -> None:
    _explore(name, tmp_path, 0.5 * SECONDS / len(STATES), EXAMPLES)
