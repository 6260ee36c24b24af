"""Properties of masks: exact ratios, window lengths, whole groups, never-masked attributes."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stefaland.config import MaskConfig, ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.masking import group_mask, mask_units, window_mask


def runs_on_ring(row: torch.Tensor) -> list[int]:
    """Lengths of the runs of True in a row whose end meets its beginning."""
    values = row.tolist()
    if all(values):
        return [len(values)]
    start = values.index(False)
    turned = values[start:] + values[:start]
    return [len(list(g)) for hidden, g in itertools.groupby(turned) if hidden]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(1, 80), ratio=st.floats(0, 1), shortest=st.integers(1, 20),
    extra=st.integers(0, 40), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_ratio_is_exact(steps: int, ratio: float, shortest: int, extra: int, seed: int) -> None:
    mask = window_mask((5, steps, 3), ratio, shortest, shortest + extra, generator(seed))
    assert mask.shape == (5, steps, 3)
    assert mask.dtype == torch.bool
    assert (mask.sum(1) == int(ratio * steps + 1e-9)).all()


@settings(max_examples=40, deadline=None)
@given(
    steps=st.integers(20, 400), ratio=st.sampled_from([0.25, 0.5, 0.75]),
    shortest=st.integers(1, 40), extra=st.integers(0, 60), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_windows_have_the_requested_lengths(
    steps: int, ratio: float, shortest: int, extra: int, seed: int
) -> None:
    longest, wanted = shortest + extra, int(ratio * steps)
    assume(-(-wanted // longest) <= wanted // shortest)
    mask = window_mask((20, steps, 2), ratio, shortest, longest, generator(seed))
    for row in mask.transpose(1, 2).flatten(0, 1):
        for run in runs_on_ring(row):
            # Windows may touch: a run is some windows, each between shortest and longest.
            assert any(n * shortest <= run <= n * longest for n in range(1, run + 1))


def test_every_step_is_hidden_equally_often() -> None:
    share = window_mask((4000, 365, 1), 0.5, 30, 90, generator()).float().mean((0, 2))
    # 4000 draws of about one half: five standard errors.
    assert (share - 182 / 365).abs().max() < 5 * 0.5 / 4000**0.5


def test_variables_and_samples_are_independent() -> None:
    flat = window_mask((500, 365, 2), 0.5, 30, 90, generator()).float()
    between = torch.corrcoef(flat.transpose(1, 2).flatten(0, 1))
    assert between.fill_diagonal_(0).mean().abs() < 0.01


def test_a_seed_repeats_its_masks_and_others_differ() -> None:
    one, same, other = (window_mask((8, 90, 2), 0.5, 5, 20, generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_bank_is_not_changed_through_its_masks() -> None:
    window_mask((8, 90, 2), 0.5, 5, 20, generator(1)).logical_not_()
    mask = window_mask((8, 90, 2), 0.5, 5, 20, generator(1))
    assert (mask.sum(1) == 45).all()


NAMES = [f"s{i}" for i in range(9)]


@st.composite
def model_configs(draw: st.DrawFn) -> ModelConfig:
    owner = draw(st.lists(st.integers(-1, 2), min_size=9, max_size=9))
    groups = {
        f"g{g}": tuple(n for n, o in zip(NAMES, owner, strict=True) if o == g) for g in range(3)
    }
    never = draw(st.sets(st.sampled_from(NAMES), max_size=9))
    return ModelConfig(
        forcings=("p",), statics=tuple(NAMES[:7]), categorical={NAMES[7]: 3, NAMES[8]: 4},
        static_groups=groups, never_masked=tuple(never),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(config=model_configs(), ratio=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_groups_are_whole_and_never_masked_are_shown(
    config: ModelConfig, ratio: float, seed: int
) -> None:
    mask = group_mask(
        Batch(torch.zeros(6, 4, 1), torch.zeros(6, 7)), config, ratio, generator(seed)
    )
    assert mask.shape == (6, 9)
    units = mask_units(config)
    assert sorted(p for unit in units for p in unit) == [
        i for i, name in enumerate(NAMES) if name not in config.never_masked
    ]
    hidden = [[bool(row[unit].all()) for unit in units] for row in mask]
    shown = [[bool((~row[unit]).all()) for unit in units] for row in mask]
    for all_hidden, all_shown in zip(hidden, shown, strict=True):
        assert all(h != s for h, s in zip(all_hidden, all_shown, strict=True))
        assert sum(all_hidden) == round(ratio * len(units))
    never = [NAMES.index(name) for name in config.never_masked]
    assert not mask[:, never].any()


def test_every_unit_is_hidden_equally_often() -> None:
    config = ModelConfig(
        forcings=("p",), statics=tuple(NAMES), static_groups={"soil": ("s0", "s1", "s2")}
    )
    batch = Batch(torch.zeros(20_000, 1, 1), torch.zeros(20_000, 9))
    share = group_mask(batch, config, 0.5, generator()).float().mean(0)
    # Four of the seven units.
    assert (share - 4 / 7).abs().max() < 0.04


def test_window_lengths_in_order() -> None:
    with pytest.raises(ValueError, match="window_min"):
        MaskConfig(window_min=9, window_max=3)
