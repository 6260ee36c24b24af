"""A fraction of the sites has targets: nested, by whole groups, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.files import write_json
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.example import example_cells
from stefaland.folds.split import make_folds
from stefaland.folds.visible import with_fewer_labels
from workflows.inputs.folds import FoldFiles
from workflows.stages.finetune import TrainingInputs


def cells_in_groups(cells: int = 24, size: int = 2) -> CellData:
    data = example_cells(n_cells=cells)
    return replace(data, group=np.arange(cells) // size)


def labelled(data: CellData, part: np.ndarray) -> set[int]:
    assert data.target is not None
    rows = data.rows(part)
    known = (~data.target[rows].isnan()).flatten(1).any(1)
    return {int(cell) for cell in data.cell[rows][known]}


@given(st.integers(0, 9), st.floats(0.01, 0.6), st.floats(0.0, 0.4))
@settings(max_examples=20, deadline=None)
def test_fewer_labels_are_nested_whole_groups_of_training_and_validation(
    seed: int, fraction: float, more: float
) -> None:
    data = cells_in_groups()
    fold = make_folds("groups", data, k=3, seed=seed, validation_share=0.3)[0]
    few = with_fewer_labels(data, fold, fraction)
    many = with_fewer_labels(data, fold, fraction + more)
    for part in (fold.train, fold.validation):
        kept, known = labelled(few, part), labelled(data, part)
        assert kept <= labelled(many, part) <= known
        groups = len(known) // 2
        assert len(kept) == 2 * max(1, round(fraction * groups))
        assert all((cell ^ 1) in kept for cell in kept)
    others = np.concatenate([fold.test, fold.dropped])
    rows = data.rows(others)
    assert few.target is not None
    assert data.target is not None
    torch.testing.assert_close(few.target[rows], data.target[rows], equal_nan=True)
    assert with_fewer_labels(data, fold, 1.0) is data


def test_the_scaling_of_the_target_is_that_of_the_sites_with_labels(tmp_path: Path) -> None:
    data = cells_in_groups()
    fold = make_folds("groups", data, k=3)[0]
    files = FoldFiles(tmp_path)
    fold.save(files.cells(fold.name))
    whole = fit_normaliser(data, data.rows(fold.train))
    write_json(files.statistics(fold.name), whole.to_dict())
    made, found = TrainingInputs(data, files, tmp_path, None, {}).labelled(fold, 0.25)
    kept = sorted(labelled(made, fold.train))
    expected = fit_normaliser(data, data.rows(kept)).scalings
    name = data.target_names[0]
    assert found.scalings[name].mean == expected[name].mean != whole.scalings[name].mean
    assert {**found.scalings, name: whole.scalings[name]} == dict(whole.scalings)
