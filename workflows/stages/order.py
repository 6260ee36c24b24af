"""Running or skipping of stages, alone or in order, under the lock of the run folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from rich.table import Table

from pipeline.core.errors import bad_input, listed, nearest_name
from workflows.console import CONSOLE
from workflows.fingerprints import NEEDS, record_sources, stage_fingerprint, stages_after
from workflows.run import Run
from workflows.stages.markers import StageState, require_inside, run_lock, turn
from workflows.stages.monitor import Monitor

TRAININGS = ("pretrain", "finetune")
"""Stages that several ranks of torchrun can share."""


class StageModule(Protocol):
    """Interface of a stage's module."""

    def outputs(self, run: Run) -> list[Path]:
        """Paths in the run folder that the stage writes; removed when its settings change."""

    def main(self, run: Run) -> dict[str, Any]:
        """Run the stage; returns results for its marker and the report."""


def stage_module(name: str) -> StageModule:
    """The module of a stage; `InputError` for an unknown name."""
    if name not in NEEDS:
        raise bad_input(
            "stage", f'"{name}"', f"one of {', '.join(NEEDS)}", nearest_name(name, NEEDS)
        )
    return cast(StageModule, import_module(f"workflows.stages.{name}"))


def stage_state(run: Run, name: str) -> StageState:
    """The markers of a stage under the run's present settings."""
    return StageState(run.folder, name, stage_fingerprint(run, name))


def _withdraw_after(run: Run, name: str, resumes: bool) -> None:
    """Mark the stages after one as unfinished: they were made from its former outputs."""
    again = [
        later
        for later in stages_after(name)
        if StageState(run.folder, later, "").withdraw(resumable=resumes)
    ]
    if again:
        CONSOLE.print(
            f"{name:>9}  runs again, and so do the stages that depend on it: {', '.join(again)}"
        )


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


def run_stage_by_name(run: Run, name: str) -> None:
    """Run one stage in the locked run folder, or skip it if it is finished.

    Under torchrun the ranks train together; the first holds the lock and writes the markers.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _run_on_ranks(run, name)
        return
    with run_lock(run.folder, shared=run.part != (1, 1)):
        _run_stage(run, name)


def checked(run: Run) -> dict[str, Any]:
    """The result of the check of a run, in its locked folder."""
    with run_lock(run.folder, shared=run.part != (1, 1)):
        return stage_module("check").main(run)


def _run_on_ranks(run: Run, name: str) -> None:
    from stefaland.distributed import agreed, best_device, is_main, process_group

    if name not in TRAININGS:
        expected = f"a training: {', '.join(TRAININGS)}"
        raise bad_input(f"stage {name}", "several ranks (torchrun)", expected, "Use --part.")
    with process_group(best_device()):
        if is_main():
            with run_lock(run.folder):
                _run_stage(run, name, agreed)
        elif agreed(True):
            stage_module(name).main(run)


def _run_stage(run: Run, name: str, begin: Callable[[bool], bool] = bool) -> None:
    """Run or skip a stage; `begin` is called with True before it runs, else with False."""
    if name == "regrid":
        _record_sources(run)
    module, state = stage_module(name), stage_state(run, name)
    if name == "check":
        module.main(run)
        return
    _require(run, name)
    if run.resume and state.is_finished:
        begin(False)
        CONSOLE.print(f"{name:>9}  already finished, skipped")
        return
    require_inside(run.folder, module.outputs(run))
    with turn(run.folder):
        # If two parts found outputs of other settings at once, one would remove new ones too.
        _withdraw_after(run, name, state.start(module.outputs(run), run.resume))
    begin(True)
    CONSOLE.print(f"{name:>9}  ...")
    with Monitor() as monitor:
        result = module.main(run)
    if run.part != (1, 1):
        CONSOLE.print(
            f"{name:>9}  part {run.part[0]}/{run.part[1]} done in {monitor.seconds:.1f} s; "
            "after the last part, run the stage once more without --part to finish it"
        )
        return
    state.finish(monitor.seconds, monitor.peak_bytes, result, module.outputs(run))
    CONSOLE.print(f"{name:>9}  {monitor.seconds:.1f} s, {monitor.peak_bytes / 2**30:.2f} GiB")


def _record_sources(run: Run) -> None:
    """Record what the source files hold, and print which changed although their stamps did not."""
    with turn(run.folder):
        changed = record_sources(run)
    if changed:
        CONSOLE.print(
            f"   regrid  {listed(changed)}, changed since they were read, at the same size and time"
        )


def run_stages(run: Run, first: str, last: str) -> None:
    """Run the stages from `first` to `last`, skip finished ones, and print the cost of each."""
    names = list(NEEDS)
    for name in (first, last):
        stage_module(name)
    chosen = names[names.index(first) : names.index(last) + 1]
    if not chosen:
        raise bad_input("--from/--until", f"{first} to {last}", "an order of " + " → ".join(names))
    stage_module("check").main(run)
    with run_lock(run.folder):
        stages = [name for name in chosen if name != "check"]
        outputs = [path for name in stages for path in stage_module(name).outputs(run)]
        require_inside(run.folder, outputs)
        for name in stages:
            _run_stage(run, name)
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
