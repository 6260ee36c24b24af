from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from stefaland.folds.split import Fold, Locations, check_fold, make_folds, near
from workflows.config.schema import FoldSettings
from workflows.inputs.folds import WindowSteps, run_folds

RNG = np.random.default_rng(0)
GROUP = np.arange(400) // 5
# Groups of neighbours; a few of them straddle the lines between regions.
LONLAT = np.stack([RNG.uniform(-170, 170, 80), RNG.uniform(-60, 80, 80)], -1)[GROUP]
LONLAT = LONLAT + RNG.uniform(-2, 2, LONLAT.shape)
REGION = np.where(LONLAT[:, 0] < -60, "west", np.where(LONLAT[:, 0] < 60, "middle", "east"))
AT = Locations(np.arange(400) + 1000, LONLAT, GROUP, REGION)


def parts(fold: Fold) -> list[set[int]]:
    return [set(getattr(fold, n).tolist()) for n in ("train", "validation", "test", "dropped")]


@pytest.mark.parametrize("kind", ["groups", "regions", "blocks"])
def test_parts_are_apart_and_complete_and_every_cell_is_tested_once(kind: str) -> None:
    folds = make_folds(kind, AT, k=3, seed=1, validation_share=0.2)
    for fold in folds:
        sets = parts(fold)
        assert sum(map(len, sets)) == 400
        assert set.union(*sets) == set(AT.cell.tolist())
        group_of = dict(zip(AT.cell.tolist(), GROUP.tolist(), strict=True))
        labels = [{group_of[c] for c in s} for s in sets[:3]]
        assert not labels[0] & labels[2]
        assert not labels[1] & labels[2]
        assert not labels[0] & labels[1]
    tested = np.concatenate([f.test for f in folds])
    assert sorted(tested) == AT.cell.tolist()


def test_groups_fold_holds_whole_groups_in_equal_parts() -> None:
    folds = make_folds("groups", AT, k=4, seed=0)
    assert [len(f.test) for f in folds] == [100] * 4
    assert 0.07 < len(folds[0].validation) / 300 < 0.15
    again = make_folds("groups", AT, k=4, seed=0)
    assert all((a.test == b.test).all() for a, b in zip(folds, again, strict=True))
    assert (make_folds("groups", AT, k=4, seed=1)[0].test != folds[0].test).any()


def test_validation_by_blocks_holds_whole_blocks_and_whole_groups() -> None:
    for fold in make_folds("regions", AT, k=3, validation_by="blocks", block_deg=20.0):
        parts_of = {group: set() for group in GROUP}
        blocks: dict[tuple[int, int], set[str]] = {}
        for part in ("train", "validation"):
            for row in np.isin(AT.cell, getattr(fold, part)).nonzero()[0]:
                parts_of[GROUP[row]].add(part)
                first = LONLAT[np.argmax(GROUP[row] == GROUP)] // 20
                blocks.setdefault(tuple(first.astype(int)), set()).add(part)
        assert {len(found) for found in parts_of.values()} <= {0, 1}
        assert {len(found) for found in blocks.values()} == {1}
        assert len(fold.validation) > 0


def test_named_regions_and_unknown_ones() -> None:
    (fold,) = make_folds("regions", AT, regions={"hold": ("west", "east")})
    assert fold.held_out == ("west", "east")
    assert set(fold.test) == set(AT.cell[REGION != "middle"])
    with pytest.raises(InputError, match='Did you mean "west"'):
        make_folds("regions", AT, regions={"hold": ("wets",)})


def test_buffer_drops_near_cells_by_great_circle() -> None:
    lonlat = np.stack([np.linspace(178, 182, 41), np.zeros(41)], -1)
    lonlat[:, 0] = (lonlat[:, 0] + 180) % 360 - 180
    region = np.where(np.arange(41) < 20, "a", "b")
    fold = make_folds(
        "regions", Locations(np.arange(41), lonlat, None, region), buffer_km=60,
        regions={"a": ("a",)},
    )[0]  # fmt: skip
    # 0.1 degrees at the equator are 11.12 km: cells 20..24 lie within 60 km of cell 19.
    assert fold.dropped.tolist() == [20, 21, 22, 23, 24]
    assert near(np.array([[-179.9, 0.0]]), np.array([[179.9, 0.0]]), 23.0).all()
    assert not near(np.array([[-179.9, 0.0]]), np.array([[179.9, 0.0]]), 22.0).any()


def test_temporal_periods_must_not_overlap() -> None:
    (fold,) = make_folds(
        "time", AT, train_period=("1999-01-01", "2007-12-31"),
        validation_period=("2008-01-01", "2008-12-31"), test_period=("2009-01-01", "2010-12-31"),
    )  # fmt: skip
    assert (fold.train == fold.test).all()
    for change in (
        {"test_period": ("2007-12-31", "2010-12-31")},
        {"validation_period": ("2008-06-01", "2009-01-01")},
        {"train_period": None},
    ):
        with pytest.raises(InputError):
            check_fold(replace(fold, **change), AT)


@pytest.mark.parametrize("leak", ["cell", "group", "buffer", "validation", "unknown"])
def test_planted_leaks_are_found(leak: str) -> None:
    fold = make_folds("regions", AT, buffer_km=800, regions={"west": ("west",)})[0]
    check_fold(fold, AT)
    group_of = GROUP[fold.test - 1000]
    partner = np.setdiff1d(AT.cell[np.isin(GROUP, group_of)], fold.test)
    spoiled, message = {
        "cell": (replace(fold, train=np.append(fold.train, fold.test[0])), "1 shared cells"),
        "group": (replace(fold, train=np.append(fold.train, partner[0]), buffer_km=0), "groups"),
        "buffer": (
            replace(fold, train=np.append(fold.train, fold.dropped)), "within 800 km"
        ),
        "validation": (replace(fold, validation=fold.train[:3]), "train and validation"),
        "unknown": (replace(fold, train=np.append(fold.train, 1)), "do not exist"),
    }[leak]  # fmt: skip
    with pytest.raises(InputError, match=message):
        check_fold(spoiled, AT)


def test_small_parts_are_listed_together() -> None:
    with pytest.raises(InputError) as caught:
        make_folds("groups", AT, k=4, min_cells=150)
    assert len(caught.value.faults) == 4
    with pytest.raises(InputError, match="at least k"):
        make_folds("groups", AT, k=90)
    with pytest.raises(InputError, match="region labels"):
        make_folds("regions", replace(AT, region=None))


def test_fold_is_a_file(tmp_path: Path) -> None:
    fold = make_folds("regions", AT, k=3, buffer_km=100, test_period=("2001-01-01", "2002-01-01"))[
        1
    ]
    back = Fold.load(fold.save(tmp_path / "folds" / "one.json"))
    assert back.to_dict() == fold.to_dict()
    assert back.test.dtype == np.int64
    assert [p.name for p in (tmp_path / "folds").iterdir()] == ["one.json"]
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="a fold file"):
        Fold.load(tmp_path / "bad.json")


def test_blocks_and_their_buffer_come_from_the_config() -> None:
    table = xr.Dataset(
        coords={
            "cell": AT.cell,
            "lon": ("cell", AT.lonlat[:, 0]), "lat": ("cell", AT.lonlat[:, 1]),
            "group": ("cell", AT.cell), "region": ("cell", AT.region),
        }
    )  # fmt: skip
    settings = FoldSettings(kind="blocks", k=3, block_deg=20, buffer_km=150, min_cells=5)
    block = np.floor(AT.lonlat / 20) @ [1000, 1]
    for fold in run_folds(table, settings, WindowSteps(12, 12, 0)):
        tested, trained = (np.isin(AT.cell, ids) for ids in (fold.test, fold.train))
        assert not np.intersect1d(block[tested], block[trained]).size
        assert not near(AT.lonlat[trained], AT.lonlat[tested], 150).any()
        assert len(fold.dropped)


@pytest.mark.parametrize("cells", [[1.5], [[1]], ["a"], 3])
def test_cells_of_a_fold_are_whole_numbers(tmp_path: Path, cells: object) -> None:
    ids = np.arange(4)
    fold = Fold(name="f", kind="groups", train=ids, validation=ids[:0], test=ids[:0])
    path = fold.save(tmp_path / "f.json")
    assert Fold.load(path).to_dict() == fold.to_dict()
    path.write_text(json.dumps({**json.loads(path.read_text()), "train": cells}))
    with pytest.raises(InputError, match=r"f\.json"):
        Fold.load(path)
