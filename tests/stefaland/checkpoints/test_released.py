"""Encoders by name and address, from a server of this machine: verified, kept, and faults."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import stefaland
from pipeline.core import web
from pipeline.core.errors import InputError
from stefaland.checkpoints import released
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.checkpoints.manifest import MANIFEST, Manifest
from stefaland.checkpoints.released import Published, encoder_folder
from stefaland.config import ModelConfig
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.example import example_cells
from stefaland.model.mae import StefaLand
from stefaland.prediction.encoder import Encoder
from tests.loopback import Loopback, ask_afresh, serving

PATH = "lab/tiny/resolve/main"
WEIGHTS = f"{PATH}/model.safetensors"


def publish(folder: Path, scale: float = 1.0) -> str:
    """A release in a folder; returns the digest of its manifest."""
    cells = example_cells()
    config = ModelConfig(forcings=cells.forcing_names, statics=cells.static_names, d_model=8,
                         d_embed=4, d_feedforward=8, n_heads=2, n_encoder_layers=1)  # fmt: skip
    model = StefaLand(config)
    model.load_state_dict({k: v * scale for k, v in model.state_dict().items()})
    normaliser = fit_normaliser(cells, cells.rows(cells.cell)).to_dict()
    save_checkpoint(folder, model, {"normaliser": normaliser})
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
    manifest = Manifest.of("tiny", files).text()
    (folder / MANIFEST).write_bytes(manifest)
    return Manifest.of("tiny", {MANIFEST: manifest}).files[MANIFEST].sha256


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server with the paths of Hugging Face, and an empty folder of copies."""
    ask_afresh(monkeypatch, tmp_path / "cache")
    with serving(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def error(source: str) -> str:
    with pytest.raises(InputError) as caught:
        encoder_folder(source)
    assert len(caught.value.faults) == 1
    return str(caught.value)


def test_an_encoder_of_a_repository_is_fetched_once_through_a_redirect(hub: Loopback) -> None:
    publish(hub.folder / PATH)
    (hub.folder / "cdn").mkdir()
    (hub.folder / WEIGHTS).rename(hub.folder / "cdn" / "blob")
    hub.redirects[WEIGHTS] = hub.to("cdn/blob?signature=secret")
    encoder = stefaland.load("hf://lab/tiny")
    assert isinstance(encoder, Encoder)
    cells = example_cells()
    assert encoder.absent_in(cells) == ()
    assert encoder.embed(cells, 20).shape == (len(cells), 16)
    assert sorted(path.name for path in encoder.folder.iterdir()) == [
        ".about.json", "config.json", "data.json", "manifest.json", "model.safetensors"
    ]  # fmt: skip
    assert encoder_folder("hf://lab/tiny@main") == encoder.folder
    assert hub.asked_for("cdn/blob") == 1
    assert hub.asked_for(f"{PATH}/{MANIFEST}") == 2, "a branch may have moved"


def test_without_a_connection_the_last_copy_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_afresh(monkeypatch, tmp_path / "cache")
    commit = "0" * 40
    with serving(tmp_path) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        for revision in ("main", commit):
            publish(tmp_path / "lab" / "tiny" / "resolve" / revision)
            encoder_folder(f"hf://lab/tiny@{revision}")
        count = len(server.requests)
        encoder_folder(f"hf://lab/tiny@{commit}")
        assert len(server.requests) == count, "a commit never changes"
    # A connection that is kept would still be answered.
    monkeypatch.setattr(web, "_LOCAL", threading.local())
    folder = encoder_folder("hf://lab/tiny")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "no connection" in error("hf://lab/tiny"), "a damaged copy is not used"
    assert "no connection" in error("hf://lab/other")


def test_an_address_that_looks_like_a_commit_is_no_promise_of_other_servers(
    hub: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"lab/tiny/resolve/{'0' * 40}"
    publish(hub.folder / path)
    first = encoder_folder("hf://lab/tiny@" + "0" * 40)
    assert encoder_folder(hub.to(path)) == first
    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
    publish(hub.folder / path, scale=2.0)
    assert encoder_folder(hub.to(path)) != first
    other = f"models/{'0' * 40}"
    publish(hub.folder / other)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    before = encoder_folder(hub.to(other))
    publish(hub.folder / other, scale=2.0)
    assert encoder_folder(hub.to(other)) != before


def test_a_manifest_is_used_as_long_as_its_weights_and_never_missed(
    hub: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub.folder / PATH)
    folder = encoder_folder("hf://lab/tiny")
    entries = {path.parent.name: path for path in (tmp_path / "cache").glob("*/.about.json")}
    for path in entries.values():
        os.utime(path, (0, 0))
    assert encoder_folder("hf://lab/tiny") == folder
    of_weights = entries.pop(folder.name).stat().st_mtime
    (of_address,) = (path.stat().st_mtime for path in entries.values())
    assert of_address >= of_weights > 0
    # Weights that have lost their manifest are fetched again, and no checkpoint of unknown origin.
    (folder / MANIFEST).unlink()
    with pytest.raises(InputError, match="a copy of a release without its manifest"):
        encoder_folder(folder)
    asked = hub.asked_for(WEIGHTS)
    assert encoder_folder("hf://lab/tiny") == folder
    assert hub.asked_for(WEIGHTS) == asked + 1
    assert (folder / MANIFEST).is_file()
    shutil.rmtree(next(iter(entries.values())).parent)
    assert encoder_folder("hf://lab/tiny") == folder
    assert hub.asked_for(WEIGHTS) == asked + 1


def test_a_name_is_pinned_to_the_digest_of_its_manifest(
    hub: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = publish(hub.folder / "tiny")
    release = Published(hub.to("tiny"), digest)
    monkeypatch.setitem(released.RELEASES, "tiny", release)
    folder = encoder_folder("tiny")
    asked = len(hub.requests)
    assert (encoder_folder("tiny"), len(hub.requests)) == (folder, asked)
    publish(hub.folder / "tiny", scale=2.0)
    assert encoder_folder(hub.to("tiny")) != folder, "an address has what is there now"
    monkeypatch.setitem(released.RELEASES, "tiny", Published(hub.to("tiny"), "0" * 64))
    assert "other bytes than those whose SHA-256 sum is published" in error("tiny")


def test_names_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    text = error("stefaland-conus-tiny")
    assert "a release that is not published yet" in text
    assert "`stefaland release conus_tiny --name stefaland-conus-tiny --out FOLDER`" in text
    assert 'Did you mean "stefaland-conus-tiny"?' in error("stefaland-conus-tin")
    publish(tmp_path / "tiny")
    assert encoder_folder(tmp_path / "tiny") == tmp_path / "tiny"
    data = tmp_path / "tiny" / "data.json"
    data.write_text(data.read_text() + " ")
    assert f"{data}: found other bytes" in error(str(tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "no such file (status 404)"),
        ("403", "status 403, no access, as of a repository that is private or does not exist"),
        ("page", "a web page (text/html)"),
        ("truncated", "an answer that ends early in 6 tries"),
        ("503", "status 503 in 6 tries"),
        ("changed", "other bytes than those whose SHA-256 sum is published"),
        ("longer", "bytes; expected the size in the manifest"),
    ],
)
def test_a_fault_is_one_error_and_leaves_no_copy(
    hub: Loopback, tmp_path: Path, fault: str, message: str
) -> None:
    publish(hub.folder / PATH)
    weights = hub.folder / WEIGHTS
    content = weights.read_bytes()
    if fault == "missing":
        weights.unlink()
    elif fault in ("changed", "longer"):
        weights.write_bytes(content[:-1] + (b"x" if fault == "changed" else b"xy"))
    else:
        hub.faults[WEIGHTS] = [fault] * 6
    assert message in error("hf://lab/tiny")
    assert not list((tmp_path / "cache").glob("*/model.safetensors"))
    weights.write_bytes(content)
    hub.faults.clear()
    assert encoder_folder("hf://lab/tiny").is_dir()


@pytest.mark.parametrize("wrong", ["bytes", "needed", "path", "size"])
def test_a_manifest_that_is_none_is_refused(hub: Loopback, wrong: str) -> None:
    publish(hub.folder / PATH)
    path = hub.folder / PATH / MANIFEST
    manifest = json.loads(path.read_text())
    if wrong == "needed":
        del manifest["files"]["data.json"]
    if wrong == "path":
        manifest["files"]["../evil"] = manifest["files"]["data.json"]
    if wrong == "size":
        manifest["files"]["data.json"]["size"] = 1 << 60
    path.write_text("no" if wrong == "bytes" else json.dumps(manifest))
    assert f"{PATH}/{MANIFEST}" in error("hf://lab/tiny")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://server.org/tiny", "an address ftp://"),
        ("http://server.org/tiny", "only servers of your own network"),
        ("https://server.org/tiny?token=secret", "a query, fragment or password"),
        ("https://me:secret@server.org/tiny", "a query, fragment or password"),
        ("hf://lab", "hf://OWNER/NAME@REVISION"),
        ("hf://lab/../tiny", "no repository"),
    ],
)
def test_an_address_of_another_kind_is_refused(address: str, message: str) -> None:
    text = error(address)
    assert message in text
    assert "secret" not in text


def test_a_copy_that_does_not_fit_into_the_cache_is_refused(
    hub: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub.folder / PATH)
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", "10 kB")
    assert "STEFALAND_CACHE_SIZE" in error("hf://lab/tiny")
