"""The autoencoder: which values it reads, and equality with loops over variables."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from pydantic import ValidationError

from benchmarks.plain_model import PlainStefaLand, plain_loss
from pipeline.core.errors import InputError
from stefaland.checkpoints.published import Reader, translate
from stefaland.config import ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.losses import masked_loss
from stefaland.model.mae import Reconstruction, StefaLand
from tests.networks import (
    CLASSES,
    FORCINGS,
    STATICS,
    STEPS,
    VARIANTS,
    random_masks,
    small_batch,
    small_config,
)


@pytest.fixture(params=VARIANTS)
def model(request: pytest.FixtureRequest) -> StefaLand:
    torch.manual_seed(0)
    return StefaLand(small_config(**VARIANTS[request.param])).eval()


def tensors(reconstruction: Reconstruction) -> list[torch.Tensor]:
    values = [getattr(reconstruction, field.name) for field in fields(reconstruction)]
    return [v for v in values if isinstance(v, torch.Tensor)] + list(reconstruction.categorical)


def test_shapes_and_gradients(model: StefaLand) -> None:
    batch = small_batch()
    masks = random_masks(batch)
    found = model(batch, *masks)
    assert found.forcings.shape == batch.forcings.shape
    assert found.statics.shape == batch.statics.shape
    assert [len(scores[0]) for scores in found.categorical] == list(CLASSES.values())
    assert (found.forcing_log_variance is None) is not model.config.noise_head
    encoded = model.encode(batch)
    assert encoded.shape == (4, STEPS + model.tokens.statics.n_tokens, 16)
    assert model.embed(batch).shape == (4, 32)
    loss, _ = masked_loss(found, batch, *masks)
    loss.backward()
    lacking = [name for name, p in model.named_parameters() if p.grad is None]
    assert not lacking
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


@torch.no_grad()
def test_attention_weights_have_their_own_dropout() -> None:
    batch = small_batch()

    def differ(**rates: float) -> bool:
        torch.manual_seed(0)
        model = StefaLand(small_config(**rates)).train()
        return not torch.equal(model.encode(batch), model.encode(batch))

    assert not differ(dropout=0.0)
    assert differ(dropout=0.0, attention_dropout=0.5)
    assert differ(dropout=0.1, attention_dropout=0.0)


@torch.no_grad()
def test_hidden_values_are_not_read(model: StefaLand) -> None:
    batch = small_batch()
    forcing_mask, static_mask = random_masks(batch)
    assert batch.categorical is not None
    numeric, classes = static_mask[:, : len(STATICS)], static_mask[:, len(STATICS) :]
    other = replace(
        batch,
        forcings=torch.where(forcing_mask, 9.0, batch.forcings),
        statics=torch.where(numeric, -7.0, batch.statics),
        categorical=torch.where(classes, 1, batch.categorical),
    )
    for one, two in zip(
        tensors(model(batch, forcing_mask, static_mask)),
        tensors(model(other, forcing_mask, static_mask)),
        strict=True,
    ):
        assert torch.equal(one, two)


@torch.no_grad()
def test_missing_is_hidden(model: StefaLand) -> None:
    whole = small_batch()
    forcing_mask, static_mask = random_masks(whole)
    assert whole.categorical is not None
    numeric, classes = static_mask[:, : len(STATICS)], static_mask[:, len(STATICS) :]
    gaps = replace(
        whole,
        forcings=whole.forcings.masked_fill(forcing_mask, torch.nan),
        statics=whole.statics.masked_fill(numeric, torch.nan),
        categorical=whole.categorical.masked_fill(classes, -1),
    )
    for one, two in zip(
        tensors(model(gaps)), tensors(model(whole, forcing_mask, static_mask)), strict=True
    ):
        assert torch.equal(one, two)


@torch.no_grad()
def test_every_value_that_is_not_hidden_matters(model: StefaLand) -> None:
    batch = replace(
        small_batch(1), forcings=torch.randn(1, STEPS, 3), statics=torch.randn(1, 5),
        categorical=torch.zeros(1, 2, dtype=torch.long),
    )  # fmt: skip
    before = model(batch).forcings
    for day in (0, STEPS // 2, STEPS - 1):
        changed = batch.forcings.clone()
        changed[0, day, 1] += 1
        assert not torch.equal(model(replace(batch, forcings=changed)).forcings, before)
    for attribute in range(5):
        statics = batch.statics.clone()
        statics[0, attribute] += 1
        assert not torch.equal(model(replace(batch, statics=statics)).forcings, before)


@torch.no_grad()
def test_samples_do_not_depend_on_each_other(model: StefaLand) -> None:
    if model.config.reference_static_mask:
        pytest.skip("the published table of hidden statics depends on the row in the batch")
    batch = small_batch()
    masks = random_masks(batch)
    names = ("forcings", "statics", "categorical", "day_of_year", "lonlat")
    alone = Batch(**{name: getattr(batch, name)[2:3] for name in names})
    for together, single in zip(
        tensors(model(batch, *masks)), tensors(model(alone, *(m[2:3] for m in masks))), strict=True
    ):
        torch.testing.assert_close(together[2:3], single, atol=1e-5, rtol=1e-5)


def test_training_repeats_bit_for_bit() -> None:
    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(5)
        model = StefaLand(small_config(dropout=0.2)).train()
        batch = small_batch()
        loss, _ = masked_loss(model(batch, *random_masks(batch)), batch, *random_masks(batch))
        loss.backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def plain_twin(d_model: int = 16) -> tuple[PlainStefaLand, StefaLand]:
    """The network as loops over variables, and ours with its weights."""
    torch.manual_seed(1)
    sizes = {"d_model": d_model, "d_embed": 6, "d_feedforward": 24}
    plain = PlainStefaLand(FORCINGS, STATICS, **sizes, heads=2, layers=2, dropout=0.0)
    config = ModelConfig(
        forcings=FORCINGS, statics=STATICS, n_heads=2, n_encoder_layers=2, dropout=0.0,
        reference_static_mask=True, **sizes,
    )  # fmt: skip
    ours = StefaLand(config)
    ours.load_state_dict(translate(Reader("plain", plain.state_dict()), config))
    return plain, ours


def test_loops_over_variables_have_the_same_results() -> None:
    plain, ours = plain_twin()
    full = small_batch()
    batch = Batch(full.forcings, full.statics)
    masks = (random_masks(full)[0], random_masks(full)[1][:, : len(STATICS)])
    theirs = plain(batch.forcings, batch.statics, *masks)
    found = ours(batch, *masks)
    for one, two in zip((found.forcings, found.statics), theirs, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)
    loss, _ = masked_loss(found, batch, *masks)
    published = plain_loss(theirs, (batch.forcings, batch.statics), masks)
    assert float(loss.detach()) == pytest.approx(float(published.detach()), abs=1e-6)
    loss.backward()
    published.backward()
    expected = translate(
        Reader("plain", {name: p.grad for name, p in plain.named_parameters()}), ours.config
    )
    for name, parameter in ours.named_parameters():
        if name != "tokens.statics.mask_vector":
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_group_tokens_hold_their_own_attributes() -> None:
    model = StefaLand(small_config(static_tokens="group")).eval()
    batch = small_batch()
    assert batch.categorical is not None
    tokens = model.tokens.statics(batch.statics.nan_to_num(0.0), batch.categorical)
    assert tokens.shape[1] == 3
    changed = batch.statics.nan_to_num(0.0)
    changed[:, STATICS.index("slope")] += 1
    other = model.tokens.statics(changed, batch.categorical)
    assert [torch.equal(tokens[:, g], other[:, g]) for g in range(3)] == [True, False, True]


@torch.no_grad()
def test_rotary_positions_take_windows_of_any_length() -> None:
    batch = small_batch(steps=60)
    with pytest.raises(InputError, match="max_tokens"):
        StefaLand(small_config()).encode(batch)
    encoded = StefaLand(small_config(positions="rotary")).encode(batch)
    assert encoded.shape[1] == 61


@torch.no_grad()
@pytest.mark.parametrize("steps", [6, 7, 20, 23])
def test_patches_cover_every_day(steps: int) -> None:
    model = StefaLand(small_config(**VARIANTS["patches"])).eval()
    batch = small_batch(steps=steps)
    found = model(batch)
    assert found.forcings.shape[1] == steps
    assert not (found.forcings == 0).any()
    changed = batch.forcings.nan_to_num(0.0)
    before = model(replace(batch, forcings=changed)).forcings
    for day in range(steps):
        moved = changed.clone()
        moved[:, day] += 1
        assert not torch.equal(model(replace(batch, forcings=moved)).forcings, before)


@torch.no_grad()
def test_patches_are_averaged_where_they_overlap() -> None:
    model = StefaLand(small_config(tokens="patch", decoder="none", patch_stride=3)).eval()
    head = model.forcing_heads
    head.out.weight.zero_()
    head.out.bias.copy_(torch.arange(6.0))
    values = head(torch.zeros(1, 3 * 3, 16), 12)[0, :, 0, 0]
    # Patches begin on days 0, 3 and 6: day 4 is value 4 of the first and 1 of the second.
    expected = [0, 1, 2, 1.5, 2.5, 3.5, 1.5, 2.5, 3.5, 3, 4, 5]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_season_and_coordinates_are_required() -> None:
    batch = small_batch()
    for settings, lacking in (
        ({"time_of_year": True}, "day_of_year"), ({"location_encoding": True}, "lonlat"),
        ({}, "categorical"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=lacking):
            StefaLand(small_config(**settings)).encode(replace(batch, **{lacking: None}))


def test_the_date_line_is_no_border() -> None:
    model = StefaLand(small_config(location_encoding=True)).eval()
    batch = small_batch()
    west, east = (
        replace(batch, lonlat=torch.tensor([[lon, 10.0]]).expand(4, 2)) for lon in (-180.0, 180.0)
    )
    torch.testing.assert_close(model.embed(west), model.embed(east), atol=1e-5, rtol=1e-5)


def test_all_wrong_shapes_are_reported_together() -> None:
    batch = small_batch()
    wrong = Batch(batch.forcings[..., :2], batch.statics[:, :4], categorical=batch.categorical)
    with pytest.raises(InputError) as caught:
        StefaLand(small_config())(wrong, random_masks(batch)[0][:, 1:], random_masks(batch)[1])
    assert [fault.where for fault in caught.value.faults] == [
        "Batch.forcings", "Batch.statics", "forcing_mask"
    ]  # fmt: skip


def test_a_model_without_statics_or_with_one_variable_works() -> None:
    config = small_config(forcings=("rain",), statics=(), categorical={}, static_groups={})
    batch = Batch(torch.randn(2, STEPS, 1), torch.zeros(2, 0))
    mask = torch.rand(2, STEPS, 1) < 0.5
    nothing = torch.zeros(2, 0, dtype=torch.bool)
    loss, parts = masked_loss(StefaLand(config)(batch, mask, nothing), batch, mask, nothing)
    assert loss > 0
    assert parts["statics"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_heads": 3}, "multiple of n_heads"),
        ({"positions": "rotary", "d_model": 18, "n_heads": 6}, "even width"),
        ({"tokens": "patch"}, "lstm"),
        ({"patch_stride": 9}, "patch_stride"),
        ({"static_groups": {"a": ("clay",), "b": ("clay",)}}, '"clay" is in the groups'),
        ({"static_groups": {"a": ("clai",)}}, 'Did you mean "clay"'),
        ({"never_masked": ("sandd",)}, 'Did you mean "sand"'),
        ({"statics": ("rain",), "static_groups": {}}, "named twice: rain"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        small_config(**settings)


def test_the_length_of_a_step_is_an_input_where_asked_for() -> None:
    settings = {"forcings": ("rain",), "statics": ("clay",), "d_model": 16, "n_heads": 2}
    model = StefaLand(ModelConfig(**settings, cadence=True)).eval()
    forcings, statics = torch.randn(2, 12, 1), torch.randn(2, 1)
    days, months = (torch.arange(12.0).expand(2, -1) / n for n in (365.25, 12))
    with torch.inference_mode():
        encoded = [
            model.encode(Batch(forcings, statics, day_of_year=when)) for when in (days, months)
        ]
    assert not torch.allclose(*encoded)
    assert "cadence" not in ModelConfig(**settings).model_dump()
    with pytest.raises(InputError, match="day_of_year"):
        model.encode(Batch(forcings, statics))
