"""Commands on the model: statistics, training, and the encoder's representation of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import bad_input
from workflows.cli.options import (
    Config,
    Json,
    Part,
    Settings,
    add_stage,
    examples,
    open_run,
    separated,
    whole_numbers,
)
from workflows.console import CONSOLE, OUTPUT, print_json

PANEL = "Model"
app = typer.Typer()

add_stage(
    app, "stats", PANEL, "Make the folds and compute the training statistics of each.",
    "stefaland stats quickstart",
)  # fmt: skip
add_stage(
    app, "pretrain", PANEL, "Pretrain the masked autoencoder on the training cells of each fold.",
    "stefaland pretrain quickstart --set pretrain.epochs=50",
)  # fmt: skip
add_stage(
    app, "finetune", PANEL,
    "Finetune the model on the target, and train the baselines on the same folds.",
    "stefaland finetune quickstart --set finetune.adapter=gated",
)  # fmt: skip


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("stefaland import-reference model.pt checkpoints/published --heads 4"),
)
def import_reference(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the published code (.pt).")],
    folder: Annotated[Path, typer.Argument(help="New folder of the imported checkpoint.")],
    statistics: Annotated[
        Path | None,
        typer.Option(
            help="JSON file of its training statistics: {variable: {mean, std, transform}}."
        ),
    ] = None,
    forcings: Annotated[
        list[str] | None, typer.Option(metavar="A,B,C", help="Forcings in training order.")
    ] = None,
    statics: Annotated[
        list[str] | None, typer.Option(metavar="A,B,C", help="Static attributes in training order.")
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(help="Number of attention heads, which cannot be read from the tensors."),
    ] = None,
    units: Annotated[
        Path | None,
        typer.Option(help="JSON file of the units: {variable: unit}."),
    ] = None,
) -> None:
    """Import a checkpoint of the published code, and list what was not mapped."""
    from workflows.commands.import_reference import import_checkpoint

    report = import_checkpoint(
        checkpoint, folder, statistics, separated(forcings), separated(statics), heads, units
    )
    OUTPUT.plain(str(report))


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("stefaland release conus_tiny --name stefaland-conus-tiny --out release"),
)
def release(
    config: Config,
    name: Annotated[str, typer.Option(help="Name of the release.")],
    out: Annotated[Path, typer.Option(help="New folder of the release.")],
    settings: Settings = None,
    fold: Annotated[
        str | None, typer.Option(help="Fold whose encoder is released, of a run with several.")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, as an SPDX identifier.")
    ] = "apache-2.0",
) -> None:
    """Write a pretrained encoder to publish: weights, card, data statement, sites and digests."""
    from workflows.commands.release import release

    made = release(open_run(config, settings), name, out, fold, licence)
    if made["verdict"]:
        CONSOLE.print(f"This encoder is {made['verdict']}; its card says so.", soft_wrap=True)
    OUTPUT.plain(made["folder"])
    OUTPUT.plain(f"manifest sha256 {made['manifest_sha256']}")


@app.command(rich_help_panel=PANEL, epilog=examples("stefaland embed quickstart"))
def embed(
    config: Config,
    settings: Settings = None,
    fold: Annotated[
        str | None,
        typer.Option(help="Fold whose encoder is used; by default the first."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of another pretrained checkpoint to use instead.")
    ] = None,
    part: Part = "1/1",
) -> None:
    """Write the encoder's representation of every land cell, as Zarr and as a COG."""
    from workflows.commands.embed import embed

    for path in embed(open_run(config, settings, part=part), fold, checkpoint):
        OUTPUT.plain(str(path))


@app.command(
    rich_help_panel=PANEL, epilog=examples("stefaland find-rate quickstart --low 1e-4 --high 0.1")
)
def find_rate(
    config: Config,
    fold: Annotated[
        str | None, typer.Option(help="Fold whose cells pretrain; by default the first.")
    ] = None,
    low: Annotated[float, typer.Option(min=1e-12, help="Lowest learning rate.")] = 1e-5,
    high: Annotated[float, typer.Option(help="Highest learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(min=10, help="Number of optimiser steps.")] = 200,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Find a learning rate for pretraining: the loss at rates that rise step by step.

    The network of the test is forgotten; no file of the run changes.
    """
    from workflows.commands.find_rate import find_learning_rate

    found = find_learning_rate(open_run(config, settings), fold, low, high, steps)
    if as_json:
        print_json(found)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland sweep delaware --seeds 0,1,2 --adapters dual_residual,gated",
        "stefaland sweep delaware --search --models stefaland,scratch,lstm --trials 12",
    ),
)
def sweep(
    config: Config,
    seeds: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Random seeds.", show_default="0,1,2"),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Names of adapters.", show_default="the config's"),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C",
            help="Names of models.",
            show_default="stefaland, and the config's baselines and stacks",
        ),
    ] = None,
    folds: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Names of folds.", show_default="all"),
    ] = None,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Search settings of each model on the validation cells, by the config's section "
            "search.",
        ),
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of settings that a search tries.", show_default="the config's"
        ),
    ] = None,
    settings: Settings = None,
    part: Part = "1/1",
    as_json: Json = False,
) -> None:
    """Train folds x seeds x adapters, and baselines, and compare their scores.

    Processes with different parts share the work; a last call without --part compares.
    """
    if search and (seeds or adapters):
        raise bad_input(
            "--search", "with --seeds or --adapters", "neither",
            "Set the run's seed, and list adapters in search.values.adapter.",
        )  # fmt: skip
    if trials is not None and not search:
        raise bad_input("--trials", f"{trials} without --search", "both or neither")
    if as_json and part != "1/1":
        raise bad_input("--json", f"with --part {part}", "a last call without --part",
                        "A part of the work has no result of its own.")  # fmt: skip
    own = [] if trials is None else [f"search.trials={trials}"]
    run = open_run(config, [*(settings or ()), *own], part=part)
    own_models = run.config.finetune.models
    if search:
        # Stacks have no settings: their weights are those of the validation cells.
        own_models = ["stefaland", *run.config.finetune.baselines]
    names = separated(models or own_models)
    if search:
        from workflows.commands.search import search as search_settings

        result = search_settings(run, names, separated(folds))
    else:
        from workflows.commands.sweep import sweep

        numbers = whole_numbers("--seeds", separated(seeds or ["0,1,2"]))
        result = sweep(run, numbers, separated(adapters), names, separated(folds))
    if as_json and result is not None:
        print_json(result)
