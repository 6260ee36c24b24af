"""State files of any content: one clear error or a safe repetition, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from pipeline.catalog.downloads import FilesDownload, ZarrDownload, template_keys
from pipeline.core.cache import Kept
from pipeline.core.errors import InputError
from pipeline.core.files import read_json
from pipeline.entries.file_series import pattern_keys
from pipeline.execution.ledger import Ledger
from pipeline.fetch.cds import _noted as noted_job
from pipeline.fetch.manifest import Manifest
from pipeline.fetch.transfer import _noted as noted_version
from stefaland.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from stefaland.folds.fold import Fold
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.training.state import load_state
from workflows.commands.status import training
from workflows.commands.sweep import SEAL, forget_damaged, items, predictions_digest
from workflows.inputs.folds import FoldFiles
from workflows.products.completeness import caption_faults
from workflows.products.published import read_published

JUNK = [b"[]", b"null", b"7", b'"x"', b'{"a": ', b"", b"\x00\xff\xfe", b"{}", b"[" * 100_000]


@pytest.fixture(params=JUNK, ids=lambda junk: repr(junk[:8]))
def junk(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def test_files_of_a_run_are_objects_with_their_keys(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "scorecard.json").write_bytes(junk)
    with pytest.raises(InputError, match=r"scorecard\.json: found .*again"):
        read_json(tmp_path / "scorecard.json", "sites")
    (fault,) = caption_faults(tmp_path / "scorecard.json", {}, {})
    assert "unreadable" in fault.found


def test_folds_and_statistics(tmp_path: Path, junk: bytes) -> None:
    files = FoldFiles(tmp_path)
    for path in (files.cells("a"), files.statistics("a")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(junk)
    with pytest.raises(InputError, match=r"a\.json"):
        Fold.load(files.cells("a"))
    if junk != b"{}":  # statistics of no variable
        with pytest.raises(InputError, match=r"a\.json"):
            files.normaliser("a")


@pytest.mark.parametrize("file", ["config.json", "data.json"])
def test_checkpoints(tmp_path: Path, junk: bytes, file: str) -> None:
    save_checkpoint(tmp_path, LSTMNetwork(LSTMConfig(forcings=("a",), statics=(), hidden=4)), {})
    if (tmp_path / file).read_bytes() == junk:
        return
    (tmp_path / file).write_bytes(junk)
    with pytest.raises(InputError):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("state", ["[]", "null", "7", "{", '{"progress": 7}', ""])
def test_states_of_a_training(tmp_path: Path, state: str) -> None:
    model = torch.nn.Linear(2, 1)
    save_file(dict(model.state_dict()), tmp_path / "state.safetensors", {"state": state})
    with pytest.raises(InputError, match=r"state\.safetensors.*to start again"):
        load_state(
            tmp_path / "state.safetensors", "x", model, torch.optim.SGD(model.parameters(), 0.1)
        )


def test_what_is_only_a_note_is_made_anew(tmp_path: Path, junk: bytes) -> None:
    file: Any = SimpleNamespace(partial=tmp_path / "a.partial", origin="o")
    (tmp_path / "a.note").write_bytes(junk)
    assert noted_version(file) == ""
    assert noted_job(tmp_path / "a.note", file) is None
    (tmp_path / "fetched.jsonl").write_bytes(junk + b"\n")
    assert Manifest(tmp_path).records() == {}
    kept: Any = SimpleNamespace(about=tmp_path / "a.note", file=tmp_path / "fetched.jsonl")
    assert Kept._is_whole(kept) is False
    (tmp_path / "pretrained" / "a").mkdir(parents=True)
    (tmp_path / "pretrained" / "a" / "log.jsonl").write_bytes(b'{"loss": 1}\n' + junk + b"\n")
    assert [record for _, record in training(tmp_path)] in ([{"loss": 1}], [{}])


HOSTILE = [
    "{year.foo}", "{year.__class__}", "{year[0]}", "{year:>9999999999d}", "{year:d>9}", "{0}",
    "{year!r}", "{year", "{}", "{year:{month}}", "{year:02f}", "{nowhere}", "{year:99d}",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_only_plain_whole_numbers_are_filled_in(text: str) -> None:
    if text != "{}":  # which are no key in a path
        with pytest.raises(ValueError, match=r"in the uri|cannot be filled in"):
            pattern_keys(f"/data/{text}.nc")
    for settings in ({"files": f"https://a.org/{text}.nc"},
                     {"files": "https://a.org/a.nc", "to": f"{text}.nc"}):  # fmt: skip
        with pytest.raises(ValidationError):
            FilesDownload.model_validate({"kind": "http", **settings})
    if text != "{nowhere}":
        with pytest.raises(ValidationError):
            ZarrDownload.model_validate({"kind": "zarr", "store": f"s3://a/{text}"})


def test_plain_templates_are_accepted() -> None:
    assert template_keys("{year}/{month:02d}/{doy:03d}_{variable}{{}}.nc") == {
        "year", "month", "doy", "variable"
    }  # fmt: skip


def test_notes_of_a_fetch_are_sent_only_where_they_can_be_its_own(tmp_path: Path) -> None:
    note = SimpleNamespace(partial=tmp_path / "a.fetching", origin="o",
                           address="https://store.org/api/processes/land/execution")  # fmt: skip
    for version, sent in (('"abc"', '"abc"'), ("\u202eabc", ""), ("a\nb", ""), (7, ""), ("a ", "")):
        (tmp_path / "a.note").write_text(json.dumps({"version": version}))
        assert noted_version(cast(Any, note)) == sent
    own = "https://store.org/api/jobs/j-1"
    for job, asked in ((own, own), ("https://evil.org/api/jobs/j-1", None), (f"{own}/../x", None),
                       ("j-1", None), ([own], None)):  # fmt: skip
        (tmp_path / "a.job").write_text(json.dumps({"job": job, "origin": "o"}))
        assert noted_job(tmp_path / "a.job", cast(Any, note)) == asked


def test_published_maps_are_files_beside_their_list(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    listed = {"file": "a.tif", "image": "a.png", "caption": "a"}
    changes: dict[str, dict[str, Any]] = {
        "": {}, "no plain name": {"image": "../a.png"}, "no picture": {"image": "b.png"},
        "valid string": {"caption": 7},
    }  # fmt: skip
    for found, changed in changes.items():
        document = {"maps": [{**listed, **changed}], "places": []}
        (tmp_path / "p.json").write_text(json.dumps(document))
        if not found:
            assert read_published(tmp_path / "p.json").maps[0].image == "a.png"
        else:
            with pytest.raises(InputError, match=found):
                read_published(tmp_path / "p.json")


def test_a_fold_has_the_types_that_it_declares(tmp_path: Path) -> None:
    fold = Fold(name="f", kind="groups", train=np.arange(3), validation=np.arange(3, 4),
                test=np.arange(4, 6), test_period=("2001-01-01", "2002-01-01"))  # fmt: skip
    stored = json.loads(fold.save(tmp_path / "f.json").read_text())
    assert Fold.load(tmp_path / "f.json").to_dict() == fold.to_dict()
    for name, value in (("kind", None), ("test_period", "2001"), ("held_out", [1]), ("name", 3)):
        (tmp_path / "f.json").write_text(json.dumps({**stored, name: value}))
        with pytest.raises(InputError, match=name):
            Fold.load(tmp_path / "f.json")


def test_a_training_of_a_sweep_is_repeated_if_its_predictions_are_lost(tmp_path: Path) -> None:
    ledger, (item, other) = Ledger(tmp_path / "l", "f").open(), items(["a"], ["lstm"], [""], [0, 1])
    (tmp_path / item.name / "heldout.zarr" / "c").mkdir(parents=True)
    chunk = tmp_path / item.name / "heldout.zarr" / "c" / "0"
    chunk.write_bytes(b"values")
    ledger.mark(item.name, {SEAL: predictions_digest(tmp_path, item)})
    ledger.mark(other.name, {})  # as of version 0.2.0
    assert forget_damaged(ledger, [item, other], tmp_path) == []
    chunk.unlink()
    assert forget_damaged(ledger, [item, other], tmp_path) == [item.name]
    assert ledger.names_done() == {other.name}
