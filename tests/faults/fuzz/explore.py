"""Hypothesis as the source of damages: deterministic, bounded in time, repeatable by its round."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.faults.fuzz.campaign import FIRST

EXAMPLES = 60
"""Examples of a round."""


def explore(check: Callable[[random.Random], object], seconds: float, examples: int) -> None:
    """Call `check` with random generators in rounds of `examples`, until `seconds` have passed.

    The least damage that fails is shown; STEFALAND_FUZZ_FIRST=ROUND begins with its round.
    """
    until, number = time.monotonic() + seconds, FIRST
    while True:
        _round(check, number, examples)
        number += 1
        if time.monotonic() > until:
            return


def _round(check: Callable[[random.Random], object], number: int, examples: int) -> None:
    @seed(number)
    @settings(
        max_examples=examples, database=None, deadline=None, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def one_round(rng: random.Random) -> None:
        check(rng)

    try:
        one_round()
    except BaseException as error:
        error.add_note(f"Repeat it with STEFALAND_FUZZ_FIRST={number}.")
        raise
