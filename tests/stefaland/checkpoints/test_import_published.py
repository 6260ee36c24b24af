"""Parity with the published implementation: outputs, losses and gradients to 1e-5."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pipeline.core.errors import InputError
from stefaland.checkpoints.checkpoint import load_checkpoint
from stefaland.checkpoints.import_published import import_reference, load_reference
from stefaland.checkpoints.published import read_reference
from stefaland.data.batch import Batch
from stefaland.model.losses import masked_loss
from tests.published import published_tensors, small_reference
from workflows.cli import app

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference"
FOLDERS = ("lstm_decoder_small", "transformer_decoder_small")
shared = pytest.mark.shared
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="reference vectors are not beside the checkout"
)


class Vectors:
    def __init__(self, name: str) -> None:
        folder = REFERENCE / name
        self.checkpoint = folder / "checkpoint.pt"
        self.meta = json.loads((folder / "meta.json").read_text())
        self.arrays = dict(np.load(folder / "vectors.npz"))
        self.batch = Batch(self.tensor("forcings"), self.tensor("statics"))
        self.masks = (self.tensor("forcing_mask"), self.tensor("static_mask"))

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])


@pytest.fixture(scope="module", params=FOLDERS)
def vectors(request: pytest.FixtureRequest) -> Vectors:
    return Vectors(request.param)


@shared
@needs_reference
def test_outputs_and_losses_are_the_published_ones(vectors: Vectors) -> None:
    model, report = load_reference(vectors.checkpoint, reference_static_mask=True)
    assert not report.unmapped
    assert report.config.forcings == tuple(vectors.meta["forcing_names"])
    assert report.config.statics == tuple(vectors.meta["static_names"])
    assert report.mapped == len(vectors.meta["gradient_norms"])
    with torch.no_grad():
        found = model(vectors.batch, *vectors.masks)
    for ours, theirs in (("forcings", "reconstructed_forcings"),
                         ("statics", "reconstructed_statics")):  # fmt: skip
        torch.testing.assert_close(
            getattr(found, ours), vectors.tensor(theirs), atol=1e-5, rtol=1e-5
        )
    loss, parts = masked_loss(found, vectors.batch, *vectors.masks, static_weight=0.5)
    assert float(loss) == pytest.approx(float(vectors.arrays["loss"]), abs=1e-5)
    for part in ("forcings", "statics"):
        assert float(parts[part]) == pytest.approx(float(vectors.arrays[f"loss_{part}"]), abs=1e-5)


def variable_gradients(model: torch.nn.Module, names: dict[str, list[str]]) -> dict[str, float]:
    """Norms under the published names of every gradient that is one tensor a variable there."""
    gradient = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    norms = {}
    for ours, theirs, role in (
        ("tokens.forcings.{}_in", "time_series_embedding.embeddings1", "forcings"),
        ("tokens.forcings.{}_out", "time_series_embedding.embeddings2", "forcings"),
        ("tokens.statics.{}_in", "static_embedding.numerical_embeddings1", "statics"),
        ("tokens.statics.{}_out", "static_embedding.numerical_embeddings2", "statics"),
        ("forcing_heads.{}_in", "time_series_projection.embeddings1", "forcings"),
        ("forcing_heads.{}_out", "time_series_projection.embeddings2", "forcings"),
        ("static_heads.{}_in", "static_projection.numerical_embeddings1", "statics"),
        ("static_heads.{}_out", "static_projection.numerical_embeddings2", "statics"),
    ):
        for kind in ("weight", "bias"):
            axis = 1 if ours.endswith("heads.{}_in") and kind == "weight" else 0
            each = gradient[ours.format(kind)].movedim(axis, 0)
            for name, value in zip(names[role], each, strict=True):
                norms[f"{theirs}.{name}.{kind}"] = float(value.norm())
    return norms


@shared
@needs_reference
def test_gradients_are_the_published_ones(vectors: Vectors) -> None:
    model, _ = load_reference(vectors.checkpoint, reference_static_mask=True)
    loss, _ = masked_loss(model(vectors.batch, *vectors.masks), vectors.batch, *vectors.masks)
    loss.backward()
    names = {role: vectors.meta[f"{role[:-1]}_names"] for role in ("forcings", "statics")}
    norms = variable_gradients(model, names)
    gradient = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    same = {
        "time_series_embedding.masked_values": "tokens.forcings.mask_vector",
        "static_embedding.masked_values": "tokens.statics.mask_table",
        "positional_encoding.position_embedding": "tokens.positions",
        "encoder_norm.weight": "encoder.stack.norm.weight",
        "encoder_norm.bias": "encoder.stack.norm.bias",
        "enc_2_dec_embedding.weight": "encoder.out.weight",
        "enc_2_dec_embedding.bias": "encoder.out.bias",
        "decoder_norm.weight": "decoder.norm.weight",
        "decoder_norm.bias": "decoder.norm.bias",
        **{f"decoder.{n}": f"decoder.lstm.{n}" for n in
           ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")},
    }  # fmt: skip
    for stack in ("encoder", "decoder"):
        for i in range(2):
            for theirs, ours in (("self_attn.in_proj_", "qkv."), ("self_attn.out_proj.", "out."),
                                 ("linear1.", "up."), ("linear2.", "down."),
                                 ("norm1.", "norm1."), ("norm2.", "norm2.")):  # fmt: skip
                for kind in ("weight", "bias"):
                    prefix = "encoder.stack" if stack == "encoder" else "decoder"
                    same[f"{stack}.transformer_encoder.layers.{i}.{theirs}{kind}"] = (
                        f"{prefix}.layers.{i}.{ours}{kind}"
                    )
    norms.update({t: float(gradient[o].norm()) for t, o in same.items() if o in gradient})
    published = vectors.meta["gradient_norms"]
    assert norms.keys() == published.keys()
    for name, norm in published.items():
        assert norms[name] == pytest.approx(norm, abs=1e-5), name


@shared
@needs_reference
def test_a_folder_is_written_and_loads_the_same(vectors: Vectors, tmp_path: Path) -> None:
    statistics = {
        name: {"mean": 0.5, "std": 2.0}
        for name in (*vectors.meta["forcing_names"], *vectors.meta["static_names"])
    }
    groups = {"soil": ("st0", "st1")}
    report = import_reference(
        vectors.checkpoint, tmp_path, statistics=statistics, static_groups=groups
    )
    loaded, data = load_checkpoint(tmp_path)
    direct, _ = load_reference(vectors.checkpoint)
    assert "mean over rows" in str(report)
    assert data["normaliser"]["ts0"]["std"] == 2.0
    with torch.no_grad():
        one, other = (m(vectors.batch, *vectors.masks) for m in (loaded, direct))
    assert torch.equal(one.forcings, other.forcings)
    assert torch.equal(one.statics, other.statics)
    del statistics["st1"]
    with pytest.raises(InputError, match="st1"):
        import_reference(vectors.checkpoint, tmp_path, statistics=statistics)


@shared
@needs_reference
def test_rows_of_a_batch_do_not_matter_without_the_switch(vectors: Vectors) -> None:
    turned = Batch(vectors.batch.forcings.flip(0), vectors.batch.statics.flip(0))
    masks = tuple(mask.flip(0) for mask in vectors.masks)
    for switch in (False, True):
        model, _ = load_reference(vectors.checkpoint, reference_static_mask=switch)
        with torch.no_grad():
            plain, flipped = model(vectors.batch, *vectors.masks), model(turned, *masks)
        same = torch.allclose(plain.statics, flipped.statics.flip(0), atol=1e-5)
        assert same is not switch


@shared
@needs_reference
def test_order_of_variables_can_be_set(vectors: Vectors) -> None:
    forcings = tuple(reversed(vectors.meta["forcing_names"]))
    model, _ = load_reference(vectors.checkpoint, forcings=forcings, reference_static_mask=True)
    turned = Batch(vectors.batch.forcings.flip(-1), vectors.batch.statics)
    with torch.no_grad():
        found = model(turned, vectors.masks[0].flip(-1), vectors.masks[1]).forcings.flip(-1)
    torch.testing.assert_close(
        found, vectors.tensor("reconstructed_forcings"), atol=1e-5, rtol=1e-5
    )
    with pytest.raises(InputError, match="rain"):
        load_reference(vectors.checkpoint, forcings=("rain", *forcings[1:]))


@shared
@needs_reference
def test_prefixes_are_removed_and_unmapped_tensors_are_reported(
    vectors: Vectors, tmp_path: Path
) -> None:
    tensors = read_reference(vectors.checkpoint)
    odd = {f"module.{name}": value for name, value in tensors.items()}
    odd["module.decoder.weight_ih_l0_reverse"] = torch.zeros(3)
    torch.save({"model_state_dict": odd}, tmp_path / "odd.pt")
    _, report = load_reference(tmp_path / "odd.pt")
    assert report.unmapped == ("decoder.weight_ih_l0_reverse",)
    assert "weight_ih_l0_reverse" in str(report)


@shared
@needs_reference
def test_all_missing_tensors_are_named(vectors: Vectors, tmp_path: Path) -> None:
    tensors = read_reference(vectors.checkpoint)
    for name in ("encoder_norm.weight", "decoder_norm.bias", "enc_2_dec_embedding.weight"):
        del tensors[name]
    torch.save(tensors, tmp_path / "holes.pt")
    with pytest.raises(InputError) as caught:
        load_reference(tmp_path / "holes.pt")
    assert len(caught.value.faults) == 3


FORCINGS, STATICS = ("rain", "heat", "light"), ("clay", "height")


def written(path: Path, **changes: torch.Tensor | None) -> Path:
    """A published checkpoint with some tensors changed or (None) left out."""
    tensors = published_tensors(small_reference(FORCINGS, STATICS))
    for name, value in changes.items():
        assert name in tensors
        tensors[name] = value
    torch.save({"model_state_dict": {k: v for k, v in tensors.items() if v is not None}}, path)
    return path


def test_a_network_of_ours_comes_back_from_the_published_form(tmp_path: Path) -> None:
    model, report = load_reference(written(tmp_path / "a.pt"))
    assert not report.unmapped
    wanted = small_reference(FORCINGS, STATICS)
    for name, value in model.state_dict().items():
        if name != "tokens.statics.mask_vector":
            assert torch.equal(value, wanted.state_dict()[name]), name


def test_all_missing_and_misshapen_tensors_are_reported_together(tmp_path: Path) -> None:
    changes = {
        "time_series_embedding.embeddings1.heat.weight": torch.ones(7, 1),
        "time_series_embedding.embeddings1.rain.bias": torch.ones(5),
        "time_series_projection.embeddings2.rain.weight": None,
        "static_projection.numerical_embeddings1.clay.weight": torch.ones(3),
        "static_embedding.masked_values": torch.ones(4, 3),
        "encoder.transformer_encoder.layers.1.linear2.weight": torch.ones(2, 2),
        "decoder_norm.weight": None,
        "decoder.weight_ih_l0": torch.ones(1),
    }
    with pytest.raises(InputError) as caught:
        load_reference(written(tmp_path / "a.pt", **changes))
    assert {fault.where.split(": ")[1] for fault in caught.value.faults} == set(changes)
    faults = {fault.where.split(": ")[1]: fault for fault in caught.value.faults}
    shape = faults["time_series_embedding.embeddings1.heat.weight"]
    assert (shape.found, shape.expected) == ("shape (7, 1)", "(6, 1)")
    assert faults["decoder_norm.weight"].found == "no such tensor"
    assert faults["static_embedding.masked_values"].expected == "(any, 2)"


@pytest.mark.parametrize(
    "name", ["time_series_embedding.masked_values", "positional_encoding.position_embedding"]
)
def test_tables_that_sizes_are_read_from_have_two_dims(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"found shape \(3,\); expected \(any, any\)"):
        load_reference(written(tmp_path / "a.pt", **{name: torch.ones(3)}))


def test_a_variable_without_its_first_weight_is_not_forgotten(tmp_path: Path) -> None:
    name = "time_series_embedding.embeddings1.heat.weight"
    with pytest.raises(InputError, match=f"{name}: found no such tensor"):
        load_reference(written(tmp_path / "a.pt", **{name: None}))


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    changes = {"encoder_norm.bias": torch.full((16,), torch.nan)}
    with pytest.raises(InputError, match=r"not finite in tensors, 1 \(encoder_norm\.bias\)"):
        load_reference(written(tmp_path / "a.pt", **changes))


def test_impossible_settings_are_reported_as_our_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_reference(written(tmp_path / "a.pt"), n_heads=7)
    (fault,) = caught.value.faults
    assert fault.found == "d_model 16 is not a multiple of n_heads 7"
    assert "pydantic" not in str(caught.value)


def test_all_faults_of_statistics_are_reported_together(tmp_path: Path) -> None:
    statistics = {
        "rain": 3,
        "heat": {"mean": 0},
        "light": {"mean": "x", "std": 0, "transform": "log10"},
        "clay": {"mean": 0, "std": 1, "spread": 2},
    }
    arguments = ["import-reference", str(written(tmp_path / "a.pt")), str(tmp_path / "ours"),
                 "--statistics", str(tmp_path / "statistics.json")]  # fmt: skip
    (tmp_path / "statistics.json").write_text(json.dumps(statistics))
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError)
    found = [(f.where.removeprefix("statistics: "), f.found) for f in done.exception.faults]
    assert found == [
        ("rain", "3"), ("heat: std", "nothing"), ("light: mean", "'x'"), ("light: std", "0"),
        ("light: transform", "'log10'"), ("clay", 'an unknown key "spread"'),
        ("height", "no training statistics"),
    ]  # fmt: skip
    assert not (tmp_path / "ours").exists()


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize("content", [{"model_state_dict": {"a": Evil()}}, {}, [1], {"a": 1}])
def test_other_files_are_refused(
    content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"other\.pt"):
        load_reference(path)
    assert "executed" not in capsys.readouterr().out


def test_no_file_and_no_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_reference(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pt"):
        load_reference(tmp_path / "text.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "strange.pt")
    with pytest.raises(InputError, match="no such tensor"):
        load_reference(tmp_path / "strange.pt")


@shared
@needs_reference
def test_the_command_line_imports_and_reports(vectors: Vectors, tmp_path: Path) -> None:
    names = (*vectors.meta["forcing_names"], *vectors.meta["static_names"])
    statistics = tmp_path / "statistics.json"
    statistics.write_text(json.dumps({name: {"mean": 0.0, "std": 1.0} for name in names}))
    arguments = ["import-reference", str(vectors.checkpoint), str(tmp_path / "ours"),
                 "--statistics", str(statistics)]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "not mapped: none" in done.output
    assert "attention heads" in done.output
    model, data = load_checkpoint(tmp_path / "ours")
    assert set(data["normaliser"]) == set(names)
    with torch.no_grad():
        found = model(vectors.batch, vectors.masks[0], torch.zeros_like(vectors.masks[1]))
    wanted, _ = load_reference(vectors.checkpoint)
    with torch.no_grad():
        expected = wanted(vectors.batch, vectors.masks[0], torch.zeros_like(vectors.masks[1]))
    assert torch.equal(found.forcings, expected.forcings)
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, InputError)
    assert "something is there already" in str(again.exception)
