"""Files of state that runs leave on disk, damaged, and the commands that read them.

Which results are right after a damage:

- Checkpoints and states of training have digests: the same network and data, or a clear error.
- A tile counts as done only if its values are there: the run that follows leaves the same bytes
  as an undisturbed one, whatever happened to the markers.
- Shards of cubes have checksums: the same values, or a clear error.
- Records and statuses have the types that they declare.

`state_of_products` has the state of fetches, sweeps and publications.
"""

from __future__ import annotations

import json
import random
import shutil
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch

from pipeline.core.errors import InputError
from pipeline.cube.write import open_cube, verify_cube
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.fetch.manifest import Manifest, Record
from stefaland.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from stefaland.folds.fold import Fold, Kind
from stefaland.model.mae import StefaLand
from stefaland.prediction.calibration import Calibration
from stefaland.prediction.stack import Stack, load_stack
from stefaland.training.state import Progress, load_state, save_state
from tests.cubes import contents, fill_tile, make_cube
from tests.faults.fuzz.mutate import damaged_bytes, damaged_value
from tests.faults.fuzz.oracle import FindingError, outcome
from tests.faults.fuzz.state_of_products import STATES_OF_PRODUCTS, State
from tests.networks import small_config
from workflows.commands.status import run_status
from workflows.stages.markers import StageState

WHOLE_TEXTS = (b"", b"[]", b"null", b"{}", b"0", b'""', b"\x00" * 64, b"[" * 5000, b'{"a": 1}\n')


def network() -> StefaLand:
    torch.manual_seed(1)
    return StefaLand(small_config())


def _write_checkpoint(folder: Path) -> None:
    save_checkpoint(folder, network(), {"forcings": ["rain"], "mean": [0.25, 1.5]})


def _check_checkpoint(folder: Path) -> Any:
    model, data = load_checkpoint(folder)
    wanted = network().state_dict()
    same = all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    if not same or data != {"forcings": ["rain"], "mean": [0.25, 1.5]}:
        raise FindingError("a checkpoint of other weights or data")
    return model


def _optimiser(model: StefaLand) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def _write_training(folder: Path) -> None:
    model = network()
    save_state(
        folder / "state.safetensors", Progress(epoch=2, step=3, best_loss=0.5), "identity",
        model=model, optimiser=_optimiser(model), averaged=None, best=None,
    )  # fmt: skip


def _check_training(folder: Path) -> Any:
    model = network()
    found = load_state(folder / "state.safetensors", "identity", model, _optimiser(model))
    if found is None and not (folder / "state.safetensors").exists():
        return "the training starts again"
    if found is None or found[0] != Progress(epoch=2, step=3, best_loss=0.5):
        raise FindingError("another progress")
    wanted = network().state_dict()
    if not all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items()):
        raise FindingError("other weights")
    return found


def _write_cube(folder: Path) -> None:
    made = make_cube(folder / "a.zarr")
    work = partial(fill_tile, folder / "a.zarr")
    run_stage("fill", made.tiles, work, Ledger(folder / "ledger", "f"), progress=False)


def _check_markers(folder: Path) -> Any:
    """The next run, whatever the markers say, leaves the bytes of an undisturbed one."""
    made = make_cube(folder / "a.zarr")
    ledger, work = Ledger(folder / "ledger", "f"), partial(fill_tile, folder / "a.zarr")
    run_stage("fill", made.tiles, work, ledger, progress=False)
    if ledger.names_done() != {tile.name for tile in made.tiles}:
        raise FindingError("tiles that are not done after a run")
    if contents(folder / "a.zarr") != contents(pristine("markers") / "a.zarr"):
        raise FindingError("other bytes in the cube")
    return verify_cube(folder / "a.zarr", ledger=ledger)


def _check_cube(folder: Path) -> Any:
    verify = outcome(lambda: verify_cube(folder / "a.zarr", ledger=Ledger(folder / "ledger", "f")))
    found = open_cube(folder / "a.zarr").load()
    if not found.identical(_values_of_cube()) and not verify:
        raise FindingError("other values, which verify calls sound")
    return found


@cache
def _values_of_cube() -> Any:
    return open_cube(pristine("cube") / "a.zarr").load()


RECORD = Record(
    path="a/b.nc", address="https://example.org/b.nc", origin="0" * 64, size=12, sha256="1" * 64
)  # fmt: skip


def _write_manifest(folder: Path) -> None:
    Manifest(folder).add(RECORD)
    Manifest(folder).add(RECORD)


def _check_manifest(folder: Path) -> Any:
    records = Manifest(folder).records()
    for path, record in records.items():
        for name, kind in get_type_hints(Record).items():
            if not isinstance(getattr(record, name), kind) or path != record.path:
                raise FindingError(f"a record with {name} = {getattr(record, name)!r}")
    Manifest(folder).add(RECORD)
    if Manifest(folder).records()[RECORD.path] != RECORD:
        raise FindingError("a record that is lost behind a damaged one")
    return records


def _write_run(folder: Path) -> None:
    """The state that `status` reads, of a run with one cube, a training and two jobs."""
    for name in ("check", "regrid"):
        state = StageState(folder, name, "f")
        state.start([], resume=True)
        state.finish(1.5, 1000, {"tiles": 4}, [])
    StageState(folder, "pretrain", "f").start([], resume=True)
    ledger = Ledger(folder / "ledger" / "regrid-a", "f").open()
    ledger.mark("tile_0_0", {"seconds": 1.0})
    ledger.failed("tile_0_1", "an error")
    log = folder / "pretrained" / "all" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text(
        '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25, "validation_loss": 0.3}\n'
    )
    (folder / "slurm").mkdir()
    (folder / "slurm" / "jobs.json").write_text('{"regrid": "12", "pretrain": "13"}')


def _check_status(folder: Path) -> Any:
    status = run_status(folder)
    json.dumps(status, allow_nan=False)
    return status


def _check_stages(folder: Path) -> Any:
    for name in ("check", "regrid", "pretrain"):
        state = StageState(folder, name, "f")
        if state.is_finished and name == "pretrain":
            raise FindingError("a stage that counts as finished and never was")
        state.start([], resume=True)
    return True


def _write_fold(folder: Path) -> None:
    _fold().save(folder / "fold.json")


def _fold() -> Fold:
    numbers = np.arange(12)
    return Fold.from_dict(
        {"name": "all", "train": numbers[:6], "validation": numbers[6:9], "test": numbers[9:],
         "dropped": [], "train_period": None, "validation_period": None, "test_period": None,
         "held_out": ["a"], "kind": "regions"}
    )  # fmt: skip


def _check_fold(folder: Path) -> Any:
    fold = Fold.load(folder / "fold.json")
    if fold.kind not in get_args(Kind) or not isinstance(fold.name, str):
        raise FindingError(f"a fold {fold.name!r} of kind {fold.kind!r}")
    for name in ("train", "validation", "test"):
        if getattr(fold, name).ndim != 1:
            raise FindingError(
                f"cells of the part {name} with {getattr(fold, name).ndim} dimensions"
            )
    return fold


def _write_stack(folder: Path) -> None:
    Stack(("ridge", "lstm"), (0.25, 0.75), calibration=Calibration((1.5,))).save(folder)


def _check_stack(folder: Path) -> Any:
    stack = load_stack(folder)
    if abs(sum(stack.weights) - 1.0) > 1e-4 or any("/" in name for name in stack.models):
        raise FindingError(f"a stack of {stack.models} with weights {stack.weights}")
    return stack


STATES = {
    "checkpoint": State(_write_checkpoint, _check_checkpoint),
    "training": State(_write_training, _check_training),
    "markers": State(_write_cube, _check_markers, "ledger/f/*"),
    "cube": State(_write_cube, _check_cube, "a.zarr/**/*"),
    "manifest": State(_write_manifest, _check_manifest),
    "status": State(_write_run, _check_status, "**/*"),
    "stages": State(_write_run, _check_stages, ".stages/*"),
    "fold": State(_write_fold, _check_fold),
    "stack": State(_write_stack, _check_stack),
    **STATES_OF_PRODUCTS,
}
_WHOLE: dict[str, Path] = {}


def pristine(name: str) -> Path:
    """The folder of undamaged files of a kind."""
    return _WHOLE[name]


def write_whole(name: str, folder: Path) -> None:
    """Write the undamaged files of a kind, once for all of its damages."""
    if name not in _WHOLE or not _WHOLE[name].exists():
        whole = folder / f"{name}-whole"
        whole.mkdir(parents=True)
        STATES[name].write(whole)
        _WHOLE[name] = whole


def damage_state(files: list[Path], rng: random.Random) -> str:
    """Damage one of the files, or put another in its place; what was done."""
    file = rng.choice(files)
    content = file.read_bytes()
    kind = rng.choice(("bytes", "bytes", "value", "value", "whole", "swap", "gone"))
    if kind == "value":
        try:
            lines = [json.loads(line) for line in content.splitlines()]
        except ValueError:
            try:
                lines = [json.loads(content)]
            except ValueError:
                lines = []
        if lines:
            lines[-1] = damaged_value(lines[-1], rng)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
            return f"{file.name}: {lines[-1]!r}"[:300]
        kind = "bytes"
    if kind == "bytes":
        file.write_bytes(damaged_bytes(content, rng))
    elif kind == "whole":
        file.write_bytes(rng.choice(WHOLE_TEXTS))
    elif kind == "swap":
        file.write_bytes(rng.choice(files).read_bytes())
    else:
        file.unlink()
    return f"{file.name}: {kind}"


def check_state(name: str, rng: random.Random, folder: Path) -> str:
    """Damage the files of a kind of state; "refused" or "read", or `FindingError`."""
    write_whole(name, folder)
    home = folder / "damaged"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(pristine(name), home)
    files = sorted(f for f in home.glob(STATES[name].files) if f.is_file())
    done = damage_state(files, rng)
    try:
        found = outcome(lambda: STATES[name].check(home))
    except FindingError as finding:
        raise FindingError(f"{finding} after {done}") from finding
    return "refused" if isinstance(found, InputError) else "read"
