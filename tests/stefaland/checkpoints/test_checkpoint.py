"""Checkpoints are written whole and load the same; errors list all faults."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.core.files import FileSet
from stefaland.checkpoints.checkpoint import (
    KINDS,
    check_compatible,
    kind_of,
    load_checkpoint,
    load_encoder,
    save_checkpoint,
)
from stefaland.config import FinetuneConfig
from stefaland.folds.split import Fold
from stefaland.model.adapters import ADAPTERS
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.mae import StefaLand
from stefaland.model.networks.dlinear import DLinear, DLinearConfig
from stefaland.model.networks.hbv import HBVConfig, HBVNetwork
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.networks.patchtst import PatchTST, PatchTSTConfig
from stefaland.prediction.member import load_member
from stefaland.training.finetune import finetune
from tests.networks import (
    FORCINGS,
    STATICS,
    VARIANTS,
    random_masks,
    small_batch,
    small_config,
)
from tests.synthetic import daily_cells

GOLDEN = Path(__file__).parents[2] / "golden" / "checkpoint_1"
DATA = {"forcings": list(FORCINGS), "statics": list(STATICS), "units": {"rain": "mm/day"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(tmp_path / "model", StefaLand(small_config()), DATA)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pretrained_network_comes_back(variant: str, tmp_path: Path) -> None:
    model = StefaLand(small_config(**VARIANTS[variant])).eval()
    loaded, data = load_checkpoint(save_checkpoint(tmp_path, model, DATA))
    assert isinstance(loaded, StefaLand)
    assert loaded.config == model.config
    assert data == DATA
    with torch.no_grad():
        assert torch.equal(loaded(small_batch()).forcings, model(small_batch()).forcings)


@pytest.mark.parametrize("adapter", ADAPTERS.names())
def test_a_finetuned_network_comes_back(adapter: str, tmp_path: Path) -> None:
    config = FinetuneConfig(adapter=adapter, unfreeze=1)
    model = FinetunedModel(small_config(), config, n_targets=2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path, model.eval(), DATA))
    assert isinstance(loaded, FinetunedModel)
    assert loaded.finetune_config == config
    with torch.no_grad():
        assert torch.equal(loaded(small_batch()).mean, model(small_batch()).mean)


NAMES = {"forcings": FORCINGS, "statics": STATICS}
NETWORKS = {
    "pretrained": StefaLand(small_config()),
    "finetuned": FinetunedModel(small_config(), FinetuneConfig()),
    "lstm": LSTMNetwork(LSTMConfig(**NAMES, hidden=4)),
    "patchtst": PatchTST(PatchTSTConfig(**NAMES, window=20)),
    "dlinear": DLinear(DLinearConfig(**NAMES, window=20)),
    "hbv": HBVNetwork(
        HBVConfig(forcings=("rain", "precipitation", "air_temperature"), statics=STATICS, hidden=4)
    ),
}


@pytest.mark.parametrize("kind", KINDS.names())
def test_networks_of_every_kind_come_back(kind: str, tmp_path: Path) -> None:
    made = NETWORKS[kind]
    again, data = load_checkpoint(save_checkpoint(tmp_path, made, DATA))
    assert type(again) is type(made)
    assert kind_of(again) == kind
    assert data == DATA
    assert "rain" in (tmp_path / "card.md").read_text()
    for name, value in made.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize("kind", sorted(set(KINDS.names()) - {"pretrained"}))
def test_only_a_pretrained_network_is_an_encoder(kind: str, folder: Path, tmp_path: Path) -> None:
    assert load_encoder(folder)[1] == DATA
    with pytest.raises(InputError, match=f"kind {kind}; expected a pretrained StefaLand"):
        load_encoder(save_checkpoint(tmp_path, NETWORKS[kind], DATA))


def test_the_folder_holds_four_files_and_no_pickle(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["card.md", "config.json", "data.json", "model.safetensors"]
    assert json.loads((folder / "config.json").read_text())["format"] == 2
    assert "rain" in (folder / "card.md").read_text()


def test_the_same_model_has_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    model, _ = load_checkpoint(folder)
    again = save_checkpoint(tmp_path / "again", model, DATA)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


@pytest.mark.parametrize("file", ["model.safetensors", "data.json", "card.md", "config.json"])
def test_a_failed_write_leaves_the_old_checkpoint(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    add = FileSet.add

    def fail(files: FileSet, path: Path, parts: list[bytes]) -> None:
        if path.name == file:
            raise OSError("disk full")
        add(files, path, parts)

    monkeypatch.setattr(FileSet, "add", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, StefaLand(small_config()), {**DATA, "run": "another"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def edit(path: Path, **changes: object) -> None:
    settings = json.loads(path.read_text())
    settings["model"].update(changes)
    path.write_text(json.dumps(settings))


def seal(folder: Path) -> None:
    """Replace the checksums by those of the files as they are."""
    config = json.loads((folder / "config.json").read_text())
    for name in config["sha256"]:
        config["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def test_all_tensors_that_differ_are_reported_together(folder: Path) -> None:
    edit(folder / "config.json", d_feedforward=30, noise_head=True)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    # Two layers with two weights and a bias; two kinds of heads with a weight and a bias.
    assert len(caught.value.faults) == 2 * 3 + 2 * 2


def test_folders_without_a_checkpoint_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="import-reference"):
        load_checkpoint(tmp_path)
    edit(folder / "config.json", colour="blue")
    with pytest.raises(InputError, match="colour"):
        load_checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "data.json"])
def test_files_that_hold_no_object_are_refused(folder: Path, file: str) -> None:
    (folder / file).write_text("[1]")
    with pytest.raises(InputError, match=rf"{file}: found a list; expected an object"):
        load_checkpoint(folder)


def with_data(folder: Path, model: StefaLand | FinetunedModel, **data: object) -> Path:
    """A checkpoint whose data.json holds statistics of all inputs, and `data`."""
    scalings = {name: {"mean": 0.0, "std": 1.0} for name in (*FORCINGS, *STATICS, "flow")}
    return save_checkpoint(folder, model, {**DATA, "normaliser": scalings, **data})


def test_all_that_a_member_needs_is_reported_together(tmp_path: Path) -> None:
    model = FinetunedModel(small_config(), FinetuneConfig())
    whole = {"targets": ["flow"], "window": 12, "warmup_steps": 0, "cyclic": True,
             "ranges": {"rain": [0, 1]}}  # fmt: skip
    assert load_member(with_data(tmp_path / "whole", model, **whole)).window == 12
    part = {"cyclic": True, "warmup_steps": 0, "ranges": {"rain": [0]}}
    with pytest.raises(InputError) as caught:
        load_member(with_data(tmp_path / "part", model, **part))
    wheres = [fault.where.split("data.json: ")[1] for fault in caught.value.faults]
    assert wheres == ["targets", "window", "ranges.rain.1"]
    with pytest.raises(InputError, match="flux: found no training statistics"):
        load_member(with_data(tmp_path / "flux", model, **{**whole, "targets": ["flux"]}))


def test_statistics_that_are_missing_or_none_are_refused(folder: Path, tmp_path: Path) -> None:
    cells = daily_cells(20, 30)
    fold = Fold(
        name="f",
        kind="groups",
        train=cells.cell[:10].numpy(),
        validation=cells.cell[10:15].numpy(),
        test=cells.cell[15:].numpy(),
    )
    with pytest.raises(InputError, match=r"no training statistics.*again with --statistics"):
        finetune(folder, cells, fold, FinetuneConfig(), tmp_path / "out")
    broken = with_data(tmp_path / "broken", StefaLand(small_config()))
    (broken / "data.json").write_text(json.dumps({"normaliser": {"rain": 3}}))
    seal(broken)
    with pytest.raises(InputError, match=r"normaliser: rain: found 3; expected \{mean, std"):
        finetune(broken, cells, fold, FinetuneConfig(), tmp_path / "out")


@pytest.mark.parametrize("unfreeze", [-1, "some"])
def test_impossible_numbers_of_layers_are_refused(unfreeze: object) -> None:
    with pytest.raises(ValidationError, match="unfreeze"):
        FinetuneConfig(unfreeze=unfreeze)


def test_later_formats_are_refused(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        load_checkpoint(folder)


def test_pickle_is_not_read(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("executed",))

    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    seal(folder)
    with pytest.raises(InputError, match="a StefaLand checkpoint"):
        load_checkpoint(folder)


def test_weights_of_another_write_are_refused(folder: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path / "other", StefaLand(small_config()), DATA)
    os.replace(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(InputError, match="cut off"):
        load_checkpoint(folder)


def test_a_changed_digit_is_noticed(folder: Path) -> None:
    path = folder / "data.json"
    path.write_text(path.read_text().replace("mm/day", "mm/dax"))
    with pytest.raises(InputError, match="other bytes than those") as caught:
        load_checkpoint(folder)
    assert [fault.where for fault in caught.value.faults] == [str(path)]


def test_checksums_cannot_be_left_out(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]["data.json"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="a StefaLand checkpoint"):
        load_checkpoint(folder)


def test_unknown_kinds_are_refused_with_the_nearest(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "kind": "lstn"}))
    with pytest.raises(InputError, match=r'kind: found no network "lstn".*Did you mean "lstm"'):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", ["lstm", "patchtst"])
def test_baselines_of_the_first_format_keep_loading(kind: str, tmp_path: Path) -> None:
    """Version 0.2.0 wrote them without a format number, a checksum and a card."""
    save_checkpoint(tmp_path, NETWORKS[kind], DATA)
    (tmp_path / "card.md").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    first = {name: config[name] for name in ("kind", "model")}
    (tmp_path / "config.json").write_text(json.dumps(first))
    assert type(load_checkpoint(tmp_path)[0]) is type(NETWORKS[kind])


@torch.no_grad()
def test_the_first_format_keeps_loading() -> None:
    """A checkpoint of the first version has the outputs that it had then."""
    model, data = load_checkpoint(GOLDEN)
    assert isinstance(model, StefaLand)
    assert data["units"] == {"rain": "mm/day"}
    batch = small_batch(2)
    found = model(batch, *random_masks(batch))
    expected = json.loads((GOLDEN / "expected.json").read_text())
    torch.testing.assert_close(found.forcings, torch.tensor(expected["forcings"]))
    torch.testing.assert_close(found.statics, torch.tensor(expected["statics"]))


def test_all_variables_that_differ_are_reported_together() -> None:
    check_compatible("here", DATA, {"forcings": FORCINGS, "statics": STATICS})
    with pytest.raises(InputError) as caught:
        check_compatible("here", DATA, {"forcings": ("rain", "snow"), "statics": ("clay",)})
    assert [fault.where for fault in caught.value.faults] == ["here: forcings", "here: statics"]
    assert "snow" in str(caught.value)


def test_networks_from_outside_are_saved_with_their_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_network.py").write_text(
        "from stefaland.checkpoints.checkpoint import KINDS, Kind\n"
        "from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork\n"
        "class Mine(LSTMNetwork):\n    pass\n"
        'KINDS.register("mine", Kind("Mine", Mine, {"model": ("config", LSTMConfig)}))\n'
    )
    for name in ("_values", "_origins"):
        monkeypatch.setattr(KINDS, name, dict(getattr(KINDS, name)))
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("my_network").Mine(LSTMConfig(**NAMES, hidden=4))
    folder = save_checkpoint(tmp_path / "mine", made, DATA)
    assert json.loads((folder / "config.json").read_text())["plugins"] == ["my_network"]
    assert type(load_checkpoint(folder)[0]) is type(made)


def test_only_our_models_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Linear"):
        save_checkpoint(tmp_path, torch.nn.Linear(1, 1), {})


def test_settings_nested_without_end_are_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "a", StefaLand(small_config()), {})
    (folder / "config.json").write_text("[" * 5000)
    with pytest.raises(InputError, match="StefaLand checkpoint"):
        load_checkpoint(folder)
