"""How many labelled sites each model needs: sweeps with fractions of the training sites.

`python -m benchmarks.labels CONFIG --fractions 0.1,0.25,0.5,1 --seeds 3,4,5 --models
stefaland,random_encoder,gradient_boosting --metric ubRMSE --figure labels.svg --set …` does, for
each fraction, what `stefaland sweep` does with `finetune.label_fraction`, on the same pretrained
encoders and held-out sites, and resumes it. It prints the scores by number of labelled sites of a
fold, with paired differences from the first model, and draws them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from rich.console import Console

from stefaland.folds.visible import has_target, with_fewer_labels
from workflows.commands.sweep import score_table, swept_tables, variant_scores
from workflows.config.load import load_config
from workflows.inputs.cells import cell_data
from workflows.inputs.folds import FoldFiles
from workflows.products.figures import COLOURS
from workflows.run import Run
from workflows.stages.unpack import labelled_cells


def labelled_sites(run: Run) -> float:
    """Mean number of training sites of a fold whose targets are read."""
    data = cell_data(labelled_cells(run), run.config.inputs)
    files, counts = FoldFiles(run.folder), []
    for name in files.names():
        fold = files.fold(name)
        target = with_fewer_labels(data, fold, run.config.finetune.label_fraction).target
        assert target is not None
        counts.append(int(has_target(target[data.rows(fold.train)]).sum()))
    return float(np.mean(counts))


def draw(found: Mapping[float, Mapping[str, Any]], metric: str, path: Path) -> None:
    """Draw the mean over seeds of each model's median score against the number of sites."""
    figure = Figure(figsize=(5.6, 3.8))
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    for name in next(iter(found.values()))["order"]:
        means = [scores["variants"][name]["mean"] for scores in found.values()]
        model = name.split()[0]
        axis.plot(list(found), means, "o-", label=name, color=COLOURS.get(model), markersize=4)
    axis.set(xscale="log", xlabel="labelled training sites of a fold", ylabel=f"median {metric}")
    axis.set_xticks(list(found), [f"{count:.0f}" for count in found])
    axis.minorticks_off()
    axis.grid(alpha=0.3, linewidth=0.5)
    axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed identifiers the same scores give the same file.
    with mpl.rc_context({"svg.hashsalt": "labels"}):
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def _listed(text: str) -> Sequence[str]:
    return tuple(part for part in text.split(",") if part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--fractions", default="0.1,0.25,0.5,1")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", default="stefaland,random_encoder,gradient_boosting")
    parser.add_argument("--folds", default="")
    parser.add_argument("--metric", default="RMSE")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    seeds, found = [int(seed) for seed in options.seeds.split(",")], {}
    for fraction in sorted(map(float, _listed(options.fractions))):
        own = [f"finetune.label_fraction={fraction}"]
        run = Run(load_config(options.config, [*options.settings, *own]))
        tables = swept_tables(run, seeds, (), _listed(options.models), _listed(options.folds))
        assert tables is not None
        task = run.config.finetune.task
        scores = variant_scores(tables, task, options.metric, run.config.seed)
        found[labelled_sites(run)] = scores
    for count, scores in found.items():
        Console(width=160).print(score_table(scores, f"{count:.0f} labelled sites", what="model"))
    if options.figure:
        draw(found, options.metric, options.figure)


if __name__ == "__main__":
    main()
