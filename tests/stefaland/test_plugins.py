"""Parts of the model from outside the package: the template of the docs in a run of all stages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipeline.core import plugins
from pipeline.core.errors import InputError
from pipeline.core.plugins import load_plugins
from stefaland.baselines.registry import BASELINES
from stefaland.checkpoints.plugins import PARTS, plugins_of, require_plugins
from stefaland.config import FinetuneConfig
from stefaland.metrics import SCORES, score_series
from stefaland.model import heads, losses
from stefaland.model.adapters import ADAPTERS
from stefaland.model.heads import make_head
from stefaland.model.losses import finetune_loss
from stefaland.tasks import HEADS, LOSSES, TASKS, Head, Loss
from tests.conftest import ROOT

NAME = "my_model_parts"
TEMPLATE = ROOT / "docs" / "templates" / f"{NAME}.py"
TINY = ROOT / "tests" / "golden" / "v0_2"
CONFIG = """\
extends: config.yml
plugins: [my_model_parts]
finetune: {task: count, adapter: modulated, baselines: [climatology, training_median]}
score: {metric: MAE}
"""
LOAD = """\
import sys
from pipeline.core.errors import InputError
from stefaland.prediction.member import load_member
try:
    load_member(sys.argv[1])
except InputError as error:
    print(error, file=sys.stderr)
sys.path.append(sys.argv[2])
member = load_member(sys.argv[1])
print(member.task, type(member.model.adapter).__name__, type(member.model.head).__name__)
"""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo the registrations and imports of a test."""
    for registry in (*PARTS.values(), BASELINES, SCORES):
        monkeypatch.setattr(registry, "_values", dict(registry._values))
        monkeypatch.setattr(registry, "_origins", dict(registry._origins))
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_the_template_runs_through_all_stages_and_its_checkpoints_load_elsewhere(
    tmp_path: Path,
) -> None:
    for name in ("config.yml", "catalog.yml", "target_grids.yml"):
        shutil.copy(TINY / name, tmp_path / name)
    shutil.copytree(TINY / "sources", tmp_path / "sources")
    shutil.copy(TEMPLATE, tmp_path)
    (tmp_path / "counts.yml").write_text(CONFIG)
    for until in (["--until", "finetune"], []):
        done = python("-m", "workflows.cli", "run", "counts.yml", *until, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "run" / "scorecard.json").read_text())
    assert set(card["ranking"]) == {"stefaland", "climatology", "training_median"}
    errors = {model: scores["sites"]["MAE"]["median"] for model, scores in card["models"].items()}
    assert card["ranking"] == sorted(errors, key=lambda model: errors[model])
    for model_scores in card["models"].values():
        assert model_scores["pooled"]["MAE"] > 0
        for part in ("folds", "regions", "seasons"):
            assert all(scores["MAE"] > 0 for scores in model_scores[part].values())
    (fold,) = (tmp_path / "run" / "finetuned" / "stefaland").iterdir()
    assert json.loads((fold / "config.json").read_text())["plugins"] == [NAME]

    away = tmp_path / "away"
    away.mkdir()
    loaded = python("-c", LOAD, str(fold), str(tmp_path), cwd=away)
    assert loaded.stdout.split() == ["count", "Modulated", "PoissonHead"], loaded.stderr
    assert f'config.json: found plugin "{NAME}", whose import fails' in loaded.stderr
    assert "Name it under `plugins:` of the config" in loaded.stderr


def test_settings_list_the_plugins_of_their_parts() -> None:
    assert plugins_of(FinetuneConfig()) == ()
    load_plugins([NAME], TEMPLATE.parent)
    config = FinetuneConfig(task="count")
    assert (config.head, config.loss) == ("poisson", "poisson")
    assert plugins_of(config) == plugins_of(FinetuneConfig(adapter="modulated")) == (NAME,)
    assert FinetuneConfig.model_validate(config.model_dump()) == config
    require_plugins([NAME], "config.json")
    with pytest.raises(InputError, match='plugin "my_other_parts"'):
        require_plugins([NAME, "my_other_parts"], "config.json")


def test_unknown_names_get_the_nearest_one_that_plugins_add() -> None:
    load_plugins([NAME], TEMPLATE.parent)
    for settings in ({"task": "cuont"}, {"head": "poison"}, {"loss": "poison"}):
        with pytest.raises(ValidationError) as caught:
            FinetuneConfig(**settings)
        (error,) = caught.value.errors()
        assert error["ctx"]["hint"].startswith("Did you mean")
        assert f"the plugin {NAME}" in error["ctx"]["hint"]


def test_a_head_or_loss_fits_the_tasks_that_name_it_or_that_it_names() -> None:
    load_plugins([NAME], TEMPLATE.parent)
    with pytest.raises(ValidationError, match=r'for task regression, head "poisson" is none of'):
        FinetuneConfig(head="poisson", loss="mse")
    with pytest.raises(ValidationError, match=r'head "point" is none of poisson'):
        FinetuneConfig(task="count", head="point")
    HEADS.register("twin", Head(lambda d, n: make_head("point", d, n), tasks=("regression",)))
    LOSSES.register(
        "twin", Loss(finetune_loss("mse"), tasks=("regression",), heads=("twin", "point"))
    )
    assert FinetuneConfig(head="twin", loss="twin").loss == "twin"
    with pytest.raises(ValidationError, match='loss "twin" requires head "twin or point", not'):
        FinetuneConfig(head="gaussian", loss="twin")
    with pytest.raises(ValidationError, match=r"is none of composition \["):
        FinetuneConfig(task="composition", head="twin")


def test_every_built_in_head_and_loss_is_made() -> None:
    assert "hbv" in HEADS.names()  # It reads batches, tests/stefaland/model/test_process.py.
    for name in set(HEADS.names()) - {"hbv"}:
        assert make_head(name, 8, 2)(torch.zeros(1, 3, 8)).mean.shape == (1, 3, 2)
    assert set(heads.BUILT_IN) == set(HEADS.names())
    assert set(losses.BUILT_IN) == set(LOSSES.names())
    for name in TASKS.names():
        task = TASKS.get(name)
        assert set(task.heads) <= set(HEADS.names())
        assert set(task.losses) <= set(LOSSES.names())


def test_an_adapter_and_a_score_of_a_plugin_work() -> None:
    load_plugins([NAME], TEMPLATE.parent)
    adapter = ADAPTERS.get("modulated")(4, 2, 1)
    features = torch.randn(2, 5, 4)
    out = adapter(features, torch.zeros(2, 5, 2), torch.zeros(2, 1))
    assert out.shape == features.shape
    found = score_series("MAE", [[1.0, np.nan, 3.0], [np.nan] * 3], [[2.0, 2.0, 1.0], [0.0] * 3])
    np.testing.assert_allclose(found, [1.5, np.nan])
