"""The search of settings: equal for all models, resumable, and blind to the test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline.core.errors import InputError
from stefaland.baselines import settings_read
from stefaland.baselines.registry import BASELINES
from stefaland.config import FinetuneConfig
from tests.end_to_end.small import digests
from tests.stored import DAYS, TINY, run_of, write_sites_store
from tests.workflows.cli.test_json import agree
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.commands.search import (
    Search,
    Study,
    chosen_settings,
    open_search,
    search,
    studies,
)
from workflows.config.load import load_config
from workflows.run import Run
from workflows.stages import stats

SITES = 24
LONLAT = np.random.default_rng(1).uniform((-78, 38), (-72, 43), (SITES, 2))
SETTINGS = (
    "inputs.forcings=[precipitation, air_temperature_max]", "pretrain.window=10",
    "finetune.window=10", "finetune.warmup_steps=2",
    "finetune.of={lstm: {patience: 3}}",
    "search={trials: 4, values: {trees.leaves: [2, 3, 5, 8], trees.count: [1, 2], "
    "optimiser.lr: {low: 1.0e-3, high: 1.0e-2}, unfreeze: [none, 1]}}",
)  # fmt: skip


def made_run(folder: Path, *overrides: str) -> Run:
    """A run with folds and statistics; streamflow follows the rain at each basin."""
    run = run_of("delaware", folder, *SETTINGS, *overrides)
    for cube, first in (("basins", 0), ("units", 1000)):
        rain = np.random.default_rng(first).random((DAYS.size, SITES), np.float32)
        flow = {"streamflow": rain**2, "soil_moisture": 1 - rain} if cube == "basins" else {}
        write_sites_store(run, cube, LONLAT, flow, np.arange(SITES).astype(str), first=first)
    stats.main(run)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_run(tmp_path_factory.mktemp("runs"))


def fresh(made: Search, folder: Path) -> Search:
    """The search without the trainings of others."""
    ledger = replace(made.ledger, folder=folder / "ledger").open()
    return replace(made, ledger=ledger, folder=folder)


def made_up(
    monkeypatch: pytest.MonkeyPatch, trained: list[tuple[str, str, FinetuneConfig]], killed: int = 0
) -> None:
    """Trainings whose score is a function of their settings; that of number `killed` is killed."""

    def score(self: Search, model: str, fold: str, config: FinetuneConfig, name: str) -> float:
        trained.append((model, fold, config))
        if len(trained) == killed:
            raise KeyboardInterrupt
        return abs(config.optimiser.lr - 6e-3) + 0.01 * config.trees.leaves

    monkeypatch.setattr(Search, "_trained", score)


def test_all_models_have_the_same_trials_and_a_killed_search_ends_with_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, str, FinetuneConfig]] = []
    made_up(monkeypatch, trained, killed=8)
    made = fresh(open_search(run), tmp_path / "first")
    todo = studies(
        ["stefaland", "lstm", "gradient_boosting", "ridge"], ["group0", "group1"], "fold"
    )
    assert len(todo) == 8
    with pytest.raises(KeyboardInterrupt):
        [made.run(study) for study in todo]
    found = {study.name: made.run(study) for study in todo}
    again = fresh(made, tmp_path / "again")
    assert {study.name: again.run(study) for study in todo} == found
    # The training that was killed is the only one that was begun twice, in both searches once.
    assert len(trained) == 1 + 2 * len({(*it[:2], it[2].model_dump_json()) for it in trained})
    for model in ("stefaland", "lstm", "gradient_boosting", "ridge"):
        result = found[f"{model}-group0"]
        assert len(result["trials"]) == (1 if model == "ridge" else 4)
        assert result["trials"][0]["settings"] == {}
    names = {model: {*found[f"{model}-group0"]["trials"][1]["settings"]}
             for model in ("stefaland", "lstm", "gradient_boosting")}  # fmt: skip
    assert names == {"stefaland": {"optimiser.lr", "unfreeze"}, "lstm": {"optimiser.lr"},
                     "gradient_boosting": {"trees.leaves", "trees.count"}}  # fmt: skip
    assert all(config.patience == 3 for model, _, config in trained if model == "lstm")


def test_the_chosen_settings_are_a_part_of_a_config_that_trains_the_best_trial(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, str, FinetuneConfig]] = []
    made_up(monkeypatch, trained)
    made = fresh(open_search(run), tmp_path)
    result = made.run(Study("lstm", ("group0",), "group0"))
    scores = [trial["score"] for trial in result["trials"]]
    assert result["best"] == int(np.argmin(scores))
    part = chosen_settings([result])
    assert [*part["finetune"]["of_folds"]] == ["group0"]
    (tmp_path / "chosen.yml").write_text(yaml.safe_dump(part))
    (tmp_path / "run.yml").write_text("extends: [delaware, chosen.yml]\n")
    settings = load_config(tmp_path / "run.yml", [*TINY, *SETTINGS]).finetune
    assert settings.recipe(run.config.seed, "lstm", "group0") == trained[result["best"]][2]
    both = Study("lstm", ("group0", "group1"), "")
    assert [*chosen_settings([made.run(both)])["finetune"]] == ["of"]


def test_a_choice_does_not_depend_on_targets_of_test_cells(run: Run, tmp_path: Path) -> None:
    few = run.config.search.model_copy(update={"trials": 3})
    made = replace(fresh(open_search(run), tmp_path / "whole"), settings=few)
    fold = made.inputs.files.fold("group0")
    assert made.inputs.data.target is not None
    target, observed = made.inputs.data.target.clone(), made.observed.copy(deep=True)
    rows = made.inputs.data.rows(fold.test)
    target[rows] = 100.0 * torch.rand(target[rows].shape)
    observed["streamflow"].loc[{"cell": fold.test}] = 1e3
    inputs = replace(made.inputs, data=replace(made.inputs.data, target=target))
    spoilt = replace(fresh(made, tmp_path / "spoilt"), inputs=inputs, observed=observed)
    study = Study("gradient_boosting", ("group0",), "group0")
    found = made.run(study)
    assert spoilt.run(study) == found
    assert len({trial["score"] for trial in found["trials"]}) > 1
    # Where a validation cell is spoilt, the scores are others.
    rows = made.inputs.data.rows(fold.validation)
    target[rows] = 100.0 * torch.rand(target[rows].shape)
    observed["streamflow"].loc[{"cell": fold.validation}] = 1e3
    assert fresh(spoilt, tmp_path / "third").run(study) != found


def test_several_targets_count_alike_in_any_unit(tmp_path: Path) -> None:
    made = open_search(made_run(tmp_path, "inputs.target=[streamflow, soil_moisture]"))
    study = Study("climatology", ("group0",), "group0")
    (trial,) = made.run(study)["trials"]
    assert 0.5 < trial["score"] < 1.5, "a climatology of random values errs by their spread"
    assert made.inputs.data.target is not None
    target, observed = made.inputs.data.target.clone(), made.observed.copy(deep=True)
    target[..., 1] *= 1000
    observed["soil_moisture"] *= 1000
    inputs = replace(made.inputs, data=replace(made.inputs.data, target=target))
    again = replace(fresh(made, tmp_path / "other"), inputs=inputs, observed=observed)
    (other,) = again.run(study)["trials"]
    assert other["score"] == pytest.approx(trial["score"], rel=1e-5)


def test_a_search_of_fewer_models_or_folds_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path)
    (run.folder / ".stages").mkdir()
    made_up(monkeypatch, [])
    monkeypatch.setattr("workflows.commands.search.require_pretrained", lambda run: None)
    path, chosen = run.folder / "search.json", run.folder / "search" / "chosen.yml"

    def searched(run: Run, models: list[str], folds: list[str]) -> dict[str, Any]:
        found = search(run, models, folds)
        assert found is not None
        assert json.loads(path.read_text()) == found
        return found

    first = searched(run, ["lstm", "gradient_boosting"], [])
    whole = yaml.safe_load(chosen.read_text())["finetune"]["of_folds"]
    assert [*whole] == ["group0", "group1"]
    assert all({*of} == {"lstm", "gradient_boosting"} for of in whole.values())
    # Other models, other folds, more trials, and a config that takes what was chosen before.
    search_settings = run.config.search.model_copy(update={"trials": 5})
    finetune = run.config.finetune.model_copy(update={"of_folds": whole, "baselines": ("lstm",)})
    update = {"search": search_settings, "finetune": finetune}
    later = Run(run.config.model_copy(update=update))
    second = searched(later, ["scratch", "lstm"], ["group1"])
    names = [(study["model"], study["fold"]) for study in second["studies"]]
    assert len({*names}) == len(names) == 5
    kept = [study for study in first["studies"] if study["fold"] == "group0"]
    assert all(study in second["studies"] for study in kept)
    now = yaml.safe_load(chosen.read_text())["finetune"]["of_folds"]
    assert now["group0"] == whole["group0"]
    assert {*now["group1"]} == {"lstm", "gradient_boosting", "scratch"}
    # Studies of another metric are not mixed with these, nor do they replace some of them.
    by_nse = run.config.search.model_copy(update={"metric": "NSE"})
    other = Run(run.config.model_copy(update={"search": by_nse}))
    before = path.read_bytes(), chosen.read_bytes()
    with pytest.raises(InputError, match="a search of other settings, with"):
        search(other, ["lstm"], ["group0"])
    assert (path.read_bytes(), chosen.read_bytes()) == before
    path.write_text('{"studies": [{"model": "lstm"}]}')
    with pytest.raises(InputError, match=r"search\.json: studies: found KeyError"):
        search(run, ["lstm"], [])


def test_values_that_are_no_settings_are_refused_before_any_compute() -> None:
    wrong = "search.values={adaptor: [none], window: [9], optimiser.lr: [-1]}"
    with pytest.raises(InputError) as caught:
        load_config("quickstart", [wrong])
    for text in ('Did you mean "adapter"', "search.values.window: a setting of all models",
                 "search.values.optimiser.lr: -1"):  # fmt: skip
        assert text in str(caught.value)


def test_it_is_known_of_every_model_which_settings_it_reads() -> None:
    known: dict[str, Any] = vars(settings_read)
    groups = ("WITH_ENCODER", "OTHER_NETWORKS", "OF_TREES", "WITHOUT")
    assert {name for group in groups for name in known[group]} == {*BASELINES.names()}
    own = FinetuneConfig.model_fields
    assert {*known["FINETUNED"], *known["BASELINE"], *known["TREES"]} <= {*own}


@pytest.mark.slow
def test_the_command_shares_the_work_and_writes_settings_that_a_run_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path))
    values = "search.values={adapter: [none, gated], trees.leaves: [3, 9]}"
    words = ["sweep", config, "--search", "--trials", "2", "--set", values, "--models",
             "stefaland,gradient_boosting,ridge"]  # fmt: skip

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        return int(stopped.value.code or 0)

    assert run(*words) == 2
    assert "--until pretrain" in capsys.readouterr().err
    assert run("run", config, "--until", "pretrain") == 0
    files = digests(tmp_path / "runs")
    capsys.readouterr()
    assert run("find-rate", config, "--steps", "10", "--json") == 0
    rates = json.loads(capsys.readouterr().out)
    agree(rates, "stefaland find-rate CONFIG --json")
    assert len(rates["rates"]) == 10
    assert digests(tmp_path / "runs") == files
    assert run(*words, "--part", "1/2") == 0
    markers = tmp_path.glob("runs/tiny/ledger/search/*/*.done.json")
    before = {path: path.stat().st_mtime_ns for path in markers}
    assert before
    capsys.readouterr()
    assert run(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    agree(found, "stefaland sweep CONFIG --search --json")
    assert [len(study["trials"]) for study in found["studies"]] == [2, 2, 1] * 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(tmp_path.glob("runs/tiny/search/**/heldout.zarr"))
    (tmp_path / "chosen.yml").write_text(f"extends: [tiny.yml, {found['file']}]\n")
    settings = load_config(tmp_path / "chosen.yml").finetune
    for study in found["studies"]:
        assert settings.recipe(0, study["model"], study["fold"])
