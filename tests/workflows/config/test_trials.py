"""Proposals of a search of settings."""

from __future__ import annotations

import importlib.util
import math

import pytest

from pipeline.core.errors import InputError
from workflows.config.trials import Range, Trial, propose

SPACE = {"lr": Range(low=1e-4, high=1.0, log=True), "steps": Range(low=3, high=9),
         "adapter": ("gated", "none", 2)}  # fmt: skip


def searched(count: int, **options: object) -> list[Trial]:
    """The trials of a search whose score is best at a rate of 0.01 with the adapter none."""
    tried: list[Trial] = []
    for _ in range(count):
        settings = propose(SPACE, tried, **({"seed": 3, "lower_is_better": True} | options))
        cost = abs(math.log10(float(settings["lr"])) + 2) + (settings["adapter"] != "none")
        tried.append(Trial(settings, cost))
    return tried


def test_proposals_lie_in_the_space_and_approach_the_best() -> None:
    tried = searched(40)
    for trial in tried:
        assert 1e-4 <= trial.settings["lr"] <= 1.0
        assert trial.settings["steps"] in range(3, 10)
        assert trial.settings["adapter"] in SPACE["adapter"]
    # The best of three adapters is proposed more often than at random.
    assert sum(trial.settings["adapter"] == "none" for trial in tried[-20:]) > 12


def test_a_proposal_follows_from_the_trials_before_it_and_the_seed_alone() -> None:
    tried = searched(9)
    again = propose(SPACE, tried[:8], seed=3, lower_is_better=True)
    assert again == tried[8].settings
    assert propose(SPACE, tried[:8], seed=4, lower_is_better=True) != again


def test_trials_without_a_score_or_with_other_settings_teach_nothing() -> None:
    known = searched(6)
    unknown = [Trial({}, 0.1), Trial({"lr": 0.5, "steps": 3, "adapter": "gated"}, math.nan)]
    assert propose(SPACE, [*unknown, *known], seed=3, lower_is_better=True)


@pytest.mark.parametrize("ends", [{"low": 1, "high": 1}, {"low": 0.0, "high": 1.0, "log": True}])
def test_an_interval_without_numbers_is_refused(ends: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="low"):
        Range(**ends)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'stefaland\[search\]'"):
        propose(SPACE, [], seed=0, lower_is_better=True)
