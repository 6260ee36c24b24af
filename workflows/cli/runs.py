"""Commands on whole runs, and on the machine that they run on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.completion import complete_stage
from workflows.cli.options import (
    Cluster,
    Config,
    DryRun,
    Json,
    Resume,
    Settings,
    Upgrade,
    examples,
    open_run,
    show_plan,
)
from workflows.console import OUTPUT, print_json

PANEL = "Runs"
ABOUT = "About"
app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland run quickstart",
        "stefaland run quickstart --from finetune --until score --set finetune.epochs=20",
    ),
)
def run(
    config: Config,
    first: Annotated[
        str, typer.Option("--from", help="First stage to run.", autocompletion=complete_stage)
    ] = "check",
    last: Annotated[
        str, typer.Option("--until", help="Last stage to run.", autocompletion=complete_stage)
    ] = "report",
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    cluster: Cluster = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Compare the bytes of finished outputs with those written, not only their sizes.",
        ),
    ] = False,
    upgrade: Upgrade = False,
) -> None:
    """Run the stages of a config in order; finished stages and tiles are skipped.

    What was lost or changed since a stage finished is made again.
    """
    from workflows.stages.order import run_stages

    loaded = open_run(config, settings, cluster, resume)
    if dry_run:
        show_plan(loaded, first, last)
    else:
        run_stages(loaded, first, last, deep=verify, upgrade=upgrade)


@app.command(rich_help_panel=PANEL, epilog=examples("stefaland plan quickstart"))
def plan(
    config: Config, settings: Settings = None, cluster: Cluster = None, as_json: Json = False
) -> None:
    """Show the cost of a run without computing it: tiles, bytes, memory, files and time."""
    show_plan(open_run(config, settings, cluster), "check", "report", as_json)


@app.command(rich_help_panel=PANEL, epilog=examples("stefaland status runs/quickstart"))
def status(
    folder: Annotated[Path, typer.Argument(help="Run folder.")], as_json: Json = False
) -> None:
    """Show the progress of a run: stages, tiles done, failed and missing, rates, last errors."""
    from workflows.commands.status import print_status, run_status

    found = run_status(folder)
    if as_json:
        print_json(found)
    else:
        print_status(found)


@app.command(rich_help_panel=PANEL, epilog=examples("stefaland submit quickstart --dry-run"))
def submit(
    config: Config,
    settings: Settings = None,
    dry_run: DryRun = False,
    upgrade: Upgrade = False,
) -> None:
    """Submit the whole run to SLURM as dependent jobs, and print their ids."""
    from workflows.commands.submit import submit

    for line in submit(open_run(config, settings), dry_run, upgrade):
        OUTPUT.plain(line)


@app.command(rich_help_panel=ABOUT, epilog=examples("stefaland doctor"))
def doctor(as_json: Json = False) -> None:
    """Show the versions, devices, memory and disk of this machine."""
    from workflows.commands.doctor import machine, print_machine

    found = machine()
    if as_json:
        print_json(found)
    else:
        print_machine(found)
