"""A sweep of folds × seeds × adapters that two processes share and one of which is killed."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from tests.conftest import ROOT
from tests.end_to_end.small import DELAWARE, command, environment, stefaland
from workflows.commands.sweep import chosen_folds
from workflows.commands.sweep_items import Item, check_names, items, stack_items, stacked_items

SETTINGS = (*DELAWARE, "finetune.baselines=[climatology]",
            "finetune.stack={both: [stefaland, climatology]}")  # fmt: skip
OPTIONS = ("--seeds", "0,1", "--adapters", "dual_residual,bottleneck", "--models",
           "stefaland,climatology,both")  # fmt: skip


def test_every_item_is_there_once_and_deterministic_models_have_one_seed() -> None:
    made = items(["a", "b"], ["stefaland", "lstm", "ridge"], ["x", "y"], [3, 4])
    assert len({item.name for item in made}) == len(made) == 2 * (2 * 2 + 2) + 2
    assert sum(item.model == "ridge" for item in made) == 2
    assert Item("stefaland", "x", 3, "a").variant == "stefaland:x"


def test_a_stack_is_made_for_each_seed_and_adapter_of_its_models() -> None:
    stacks = {"both": ["stefaland", "ridge"], "plain": ["ridge", "lstm"]}
    trained = items(["a"], ["stefaland", "ridge", "lstm"], ["x", "y"], [3, 4])
    stacked = stack_items(["a"], stacks, ["x", "y"], [3, 4])
    assert len({item.name for item in stacked}) == len(stacked) == 2 * (2 + 1)
    for item in stacked:
        of = stacked_items(item, stacks[item.model], 3)
        assert [*of] == stacks[item.model]
        assert {*of.values()} <= {*trained}
        assert of.get("stefaland", item).adapter == item.adapter


def test_a_stack_without_its_models_is_refused() -> None:
    with pytest.raises(InputError, match='"both" without lstm'):
        check_names(["both", "ridge"], [], [0], {"both": ["ridge", "lstm"]})


def test_unknown_names_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        check_names(["stefland"], ["bottelneck"], [1, 1])
    assert [fault.where for fault in caught.value.faults] == ["--models", "--adapters", "--seeds"]
    assert 'Did you mean "bottleneck"' in str(caught.value)


def test_a_sweep_may_have_some_of_the_folds() -> None:
    assert chosen_folds([], ["a", "b"]) == ["a", "b"]
    assert chosen_folds(["b"], ["a", "b"]) == ["b"]
    with pytest.raises(InputError, match=r'--folds: found "group9"; .* Did you mean "group0"'):
        chosen_folds(["group9"], ["group0", "west"])


@pytest.mark.registry
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_is_shared_survives_a_kill_and_tells_scores(tmp_path: Path) -> None:
    early = stefaland(tmp_path, "delaware", SETTINGS, "sweep", *OPTIONS)
    assert early.returncode == 2
    assert "--until pretrain" in early.stderr
    done = stefaland(tmp_path, "delaware", SETTINGS, "run", "--until", "pretrain")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "delaware"
    parts = [
        subprocess.Popen(
            command("delaware", SETTINGS, "sweep", *OPTIONS, "--part", f"{i}/2"),
            cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE, text=True,
        )
        for i in (1, 2)
    ]  # fmt: skip
    end = time.monotonic() + 200
    while time.monotonic() < end and len(list(run.glob("ledger/sweep/*/*.done.json"))) < 2:
        time.sleep(0.1)
    parts[0].kill()
    for part in parts:
        _, error = part.communicate(timeout=300)
        assert part.returncode in (0, -9), error
    marked = set(run.glob("ledger/sweep/*/*.done.json"))
    assert 5 <= len(marked) < 10
    before = {path: path.stat().st_mtime_ns for path in marked}
    done = stefaland(tmp_path, "delaware", SETTINGS, "sweep", *OPTIONS)
    assert done.returncode == 0, done.stderr
    # Two folds of two seeds and two adapters, and as many stacks; climatology has no seeds.
    assert len(list(run.glob("ledger/sweep/*/*.done.json"))) == 2 * (2 * 2 + 1) + 2 * 2 * 2
    assert {path: path.stat().st_mtime_ns for path in marked} == before, "an item was done twice"
    summary = json.loads((run / "sweep.json").read_text())
    assert summary["order"] == ["stefaland:dual_residual", "stefaland:bottleneck", "climatology",
                                "both:dual_residual", "both:bottleneck"]  # fmt: skip
    scores = summary["variants"]
    assert "stefaland:bottleneck" in done.stderr
    two = scores["stefaland:bottleneck"]["seeds"]
    assert set(two) == {"0", "1"}
    assert two["0"] != two["1"]
    assert scores["stefaland:bottleneck"]["mean"] == pytest.approx(np.mean(list(two.values())))
    assert scores["climatology"]["std"] is None
    assert scores["stefaland:dual_residual"]["minus_first"]["difference"] == 0.0
