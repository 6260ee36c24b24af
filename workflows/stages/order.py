"""Running or skipping of stages, alone or in order, under the lock of the run folder."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from rich.table import Table

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.execution.ledger import Ledger
from workflows.console import CONSOLE
from workflows.fingerprints import (
    NEEDS,
    READS,
    record_sources,
    stage_fingerprint,
    stages_after,
    version,
)
from workflows.run import Run
from workflows.stages.changes import reason, recorded_settings
from workflows.stages.markers import StageState, run_lock, turn
from workflows.stages.monitor import Monitor
from workflows.stages.owned import remove_abandoned, require_inside

SHOWN = 5
"""Number of damaged files of a stage that are printed."""
TRAININGS = ("pretrain", "finetune")
"""Stages that several ranks of torchrun can share."""
AGAIN = "Run `stefaland run CONFIG --verify`: it makes again what was lost or changed."


class StageModule(Protocol):
    """Interface of a stage's module."""

    def outputs(self, run: Run) -> list[Path]:
        """Files, folders and patterns in the run folder that the stage writes."""

    def main(self, run: Run) -> dict[str, Any]:
        """Run the stage; returns results for its marker and the report."""


@runtime_checkable
class FillsCubes(Protocol):
    """Interface of the module of a stage that fills cubes tile by tile."""

    def stores(self, run: Run) -> Mapping[Path, Ledger]:
        """The paths of the cubes, with the ledgers of their tiles."""


def stage_module(name: str) -> StageModule:
    """The module of a stage; `InputError` for an unknown name."""
    if name not in NEEDS:
        raise bad_input(
            "stage", f'"{name}"', f"one of {', '.join(NEEDS)}", nearest_name(name, NEEDS)
        )
    return cast(StageModule, import_module(f"workflows.stages.{name}"))


def stage_state(run: Run, name: str) -> StageState:
    """The markers of a stage under the run's present settings."""
    released = partial(stage_fingerprint, run, name, as_released=True)
    return StageState(run.folder, name, stage_fingerprint(run, name), released)


def _stores(module: StageModule, run: Run) -> Mapping[Path, Ledger]:
    return module.stores(run) if isinstance(module, FillsCubes) else {}


def _withdraw_after(run: Run, name: str, resumes: bool) -> None:
    """Mark the stages after one as unfinished: they were made from its former outputs."""
    again = withdraw_after(run.folder, name, resumes)
    if again:
        CONSOLE.print(
            f"{name:>9}  runs again, and so do the stages that depend on it: {', '.join(again)}"
        )


def withdraw_after(folder: Path, name: str, resumes: bool) -> list[str]:
    """Mark the stages after one as unfinished; returns the names of those that were finished."""
    return [
        later
        for later in stages_after(name)
        if StageState(folder, later, "").withdraw(resumable=resumes)
    ]


def _require(run: Run, name: str) -> None:
    for need in NEEDS[name]:
        state = stage_state(run, need)
        if not state.is_finished:
            lost = ", ".join(str(path.relative_to(run.folder)) for path in state.lost())
            why = f"whose {lost} is missing" if lost else "not finished under these settings"
            raise bad_input(
                f"stage {name} of {run.config.name}",
                f"stage {need} {why}",
                f"{need} to be finished first",
                f"Run `stefaland run CONFIG --until {name}`.",
            )


def require_sound(folder: Path, stages: Iterable[str], below: str = "") -> None:
    """Raise `InputError` for files of stages that were lost or changed since they were written.

    With `below`, only files in that part of the run folder are looked at. Shards of cubes are
    checked when they are read.
    """
    faults = Faults()
    for stage in stages:
        manifest = StageState(folder, stage, "").manifest()
        if manifest is None:
            continue
        others = [n for n in manifest.files if below and not f"{n}/".startswith(f"{below}/")]
        for one in manifest.without(others).damaged_files(folder):
            if not one.is_spare:
                expected = f"the file as the stage {stage} wrote it"
                faults.add(str(folder / one.file), f"a file that {one.what}", expected, AGAIN)
    faults.raise_if_any()


def require_stage(run: Run, last: str, command: str, expected: str) -> None:
    """Raise `InputError` unless the stage `last` is finished under these settings."""
    if not stage_state(run, last).is_finished:
        raise bad_input(
            f"{command} of {run.config.name}", f"stage {last} not finished under these settings",
            expected, f"Run `stefaland run CONFIG --until {last}`.",
        )  # fmt: skip


def require_finished(run: Run, last: str, before: str, command: str, expected: str) -> None:
    """Raise `InputError` unless the stage `last` is finished and what `before` reads is whole."""
    require_stage(run, last, command, expected)
    require_sound(run.folder, READS[before])


def require_version(run: Run, names: Iterable[str], upgrade: bool) -> None:
    """Raise `InputError` where another version began stages that would now be made again.

    With `upgrade` they are marked instead, so that they start from scratch.
    """
    present, other = version(), defaultdict(list)
    for name in names:
        marker = StageState(run.folder, name, "").begun()
        if marker and marker.get("version") != present:
            state = stage_state(run, name)
            # Version 0.2.0 recorded none.
            if not (state.was_finished or state.is_started):
                other[reason(marker, run, name, present)].append(name)
    if upgrade:
        for name in chain.from_iterable(other.values()):
            StageState(run.folder, name, "").withdraw()
    elif other:
        reasons = [f"of {', '.join(names)} ({why})" for why, names in other.items()]
        raise bad_input(
            str(run.folder), f"outputs that would be removed: {'; '.join(reasons)}",
            f"outputs of version {present} under these settings",
            "Run the same command with --upgrade to make them again, or keep them and choose "
            "another name with --set name=...",
        )  # fmt: skip


def run_stage_by_name(run: Run, name: str, upgrade: bool = False) -> None:
    """Run one stage in the locked run folder, or skip it if it is finished.

    Under torchrun the ranks train together; the first holds the lock and writes the markers.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _run_on_ranks(run, name, upgrade)
        return
    if name == "regrid" and run.part == (1, 1):  # parts are of a run that was checked as a whole
        stage_module("check").main(run)
    with run_lock(run.folder, shared=run.part != (1, 1)):
        prepare(run, name, upgrade)
        _run_stage(run, name)


def prepare(run: Run, first: str, upgrade: bool) -> None:
    """Remove what killed writers left, and refuse outputs of other versions from a stage on."""
    remove_abandoned(run.folder)
    names = [name for name in NEEDS if name != "check"]
    if not upgrade:
        # With --upgrade all stages are marked, so that jobs and parts need no such option.
        names = [name for name in names if name in (first, *stages_after(first))]
    with turn(run.folder):
        require_version(run, names if run.resume else [], upgrade)


def checked(run: Run) -> dict[str, Any]:
    """The result of the check of a run, in its locked folder."""
    with run_lock(run.folder, shared=run.part != (1, 1)):
        return stage_module("check").main(run)


def _run_on_ranks(run: Run, name: str, upgrade: bool) -> None:
    from stefaland.distributed import agreed, best_device, is_main, process_group

    if name not in TRAININGS:
        expected = f"a training: {', '.join(TRAININGS)}"
        raise bad_input(f"stage {name}", "several ranks (torchrun)", expected, "Use --part.")
    with process_group(best_device()):
        if is_main():
            with run_lock(run.folder):
                prepare(run, name, upgrade)
                _run_stage(run, name, begin=agreed)
        elif agreed(True):
            stage_module(name).main(run)


def _run_stage(
    run: Run, name: str, deep: bool = False, begin: Callable[[bool], bool] = bool
) -> None:
    """Run or skip a stage; `begin` is called with True before it runs, else with False.

    With `deep`, the bytes of its outputs are compared with its manifest, not only their sizes.
    """
    if name == "regrid":
        _record_sources(run)
    module, state = stage_module(name), stage_state(run, name)
    if name == "check":
        module.main(run)
        return
    _require(run, name)
    outputs, stores = module.outputs(run), _stores(module, run)
    require_inside(run.folder, outputs)
    with turn(run.folder):
        # If two parts found outputs of other settings at once, one would remove new ones too.
        marker, is_started = state.known(), state.is_started
        if run.resume and state.was_finished and _is_whole(state, deep):
            begin(False)
            CONSOLE.print(f"{name:>9}  already finished, skipped")
            return
        require_sound(run.folder, READS.get(name, ()))
        if marker and not is_started:
            why = reason(marker, run, name, version())
            CONSOLE.print(f"{name:>9}  starts anew: {why}", soft_wrap=True)
        resumes = state.start(outputs, run.resume, recorded_settings(run, name))
        _withdraw_after(run, name, resumes)
    begin(True)
    CONSOLE.print(f"{name:>9}  ...")
    with Monitor() as monitor:
        result = module.main(run)
    if run.part != (1, 1):
        CONSOLE.print(
            f"{name:>9}  part {run.part[0]}/{run.part[1]} done in {monitor.seconds:.1f} s; "
            f"after the last part, run `stefaland {name} CONFIG` to finish it"
        )
        return
    state.finish(monitor.seconds, monitor.peak_bytes, result, module.outputs(run), stores)
    CONSOLE.print(f"{name:>9}  {monitor.seconds:.1f} s, {monitor.peak_bytes / 2**30:.2f} GiB")


def _record_sources(run: Run) -> None:
    """Record what the source files hold, and print which changed although their stamps did not."""
    with turn(run.folder):
        changed = record_sources(run)
    if changed:
        CONSOLE.print(
            f"   regrid  {listed(changed)}, changed since they were read, at the same size and time"
        )


def _is_whole(state: StageState, deep: bool) -> bool:
    """Whether the outputs of a finished stage are as they were written.

    Prints what was lost or changed, and removes it, so that the stage makes it again.
    """
    damage = state.damage(deep)
    lines = [str(one) for one in damage[:SHOWN]]
    if len(damage) > SHOWN:
        lines.append(f"and {len(damage) - SHOWN} more, which `stefaland verify` lists")
    for line in lines:
        CONSOLE.print(f"{state.stage:>9}  {line}", soft_wrap=True)
    if not damage:
        return True
    resumes, is_whole = state.mend(damage), all(one.is_spare for one in damage)
    if not is_whole:
        state.withdraw(resumable=resumes)
    return is_whole


def run_stages(
    run: Run, first: str, last: str, *, deep: bool = False, upgrade: bool = False
) -> None:
    """Run the stages from `first` to `last`, skip finished ones, and print the cost of each.

    With `deep`, the bytes of their outputs are compared with their manifests. `upgrade` allows to
    make outputs of other versions again.
    """
    names = list(NEEDS)
    for name in (first, last):
        stage_module(name)
    chosen = names[names.index(first) : names.index(last) + 1]
    if not chosen:
        raise bad_input("--from/--until", f"{first} to {last}", "an order of " + " → ".join(names))
    stages = [name for name in chosen if name != "check"]
    require_inside(run.folder, [p for name in stages for p in stage_module(name).outputs(run)])
    stage_module("check").main(run)
    with run_lock(run.folder):
        prepare(run, next(iter(stages), first), upgrade)
        for name in stages:
            _run_stage(run, name, deep)
    print_costs(run, chosen)


def print_costs(run: Run, names: Sequence[str]) -> None:
    """Print time and peak memory of each stage."""
    table = Table("stage", "seconds", "peak GiB", title=f"{run.config.name}: cost of each stage")
    total = 0.0
    for name in names:
        record = stage_state(run, name).record()
        if record:
            total += record["seconds"]
            table.add_row(name, f"{record['seconds']:.1f}", f"{record['peak_bytes'] / 2**30:.2f}")
    table.add_row("all", f"{total:.1f}", "")
    CONSOLE.print(table)
