"""Sentences and tables of the report, from the scorecard and the settings of the folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stefaland.metrics import is_error
from workflows.config.folds import FoldSettings

POOLED = ("NSE", "RMSE", "ubRMSE", "bias", "correlation")
PER_SITE = ("NSE", "KGE", "RMSE", "ubRMSE", "correlation")
SERIES_TEXT = (
    "Only held-out locations are scored; higher NSE, KGE and correlation and lower RMSE, ubRMSE "
    "and bias are better."
)
STATIC_TEXT = (
    "Only held-out locations are scored; lower RMSE and Brier score and higher R2, accuracy, F1 "
    "and AUC are better."
)
MAPS_CAVEAT = (
    "The maps show the mean of the models of all folds; each was trained without what its fold "
    "holds out. The spread map combines their own uncertainty and their disagreement."
)
PERSISTENCE_CAVEAT = (
    "Persistence reads each site's observations in the test period up to the day before; no other "
    "model does."
)


def _number(value: float | None) -> str:
    return "—" if value is None or not np.isfinite(value) else f"{value:.3f}"


def score_rows(card: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Names of the scores, and the values of each model, the best model first."""
    names = [f"pooled {name}" for name in POOLED] + [f"median {name}" for name in PER_SITE]
    if "parts" in card:
        names = list(next(iter(card["models"].values()))["pooled"])
    rows = []
    for model in card["ranking"]:
        scores = card["models"][model]
        if "parts" in card:
            values = [_number(scores["pooled"][name]) for name in names]
        else:
            values = [_number(scores["pooled"][name]) for name in POOLED]
            values += [_number(scores["sites"][name]["median"]) for name in PER_SITE]
        rows.append({"model": model, "values": values, "best": model == card["ranking"][0]})
    return names, rows


def missing_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pooled ranking score of each model with all inputs and without each group."""
    metric = card["rank_by"]["metric"]
    return [
        {"model": model, "values": [
            _number(scores[model].get(metric))
            for scores in ({m: card["models"][m]["pooled"] for m in card["ranking"]},
                           *card["without"].values())
        ]}
        for model in card["ranking"] if card.get("without")
    ]  # fmt: skip


def summary(card: Mapping[str, Any]) -> str:
    """The numbers of held-out sites and models, and of targets where there are several."""
    text = f"{card['sites']} held-out sites, {len(card['ranking'])} models"
    return f"{text}, {len(card['targets'])} targets" if "targets" in card else text


def ranking_of_targets(card: Mapping[str, Any]) -> str:
    """A sentence on the ranking over several targets; empty for a single one."""
    if "targets" not in card:
        return ""
    models = ", ".join(card["ranking_of_targets"])
    return f"By their mean rank over the {len(card['targets'])} targets, the best first: {models}."


def observed_sentences(card: Mapping[str, Any]) -> list[str]:
    """A sentence on the sites of each of several targets, and on its values that are left out."""
    sentences = []
    for name, of_target in card.get("targets", {}).items():
        sentences.append(f"{name} is observed at {of_target['sites']} of the held-out sites.")
        sentences += [f"{name}: {text}" for text in unpredicted_sentence(of_target)]
    return sentences


def verdict(card: Mapping[str, Any]) -> str:
    """Sentences that name the best models on held-out data, and the rank of StefaLand."""
    metric, over = card["rank_by"]["metric"], card["rank_by"]["over"]
    words = f"{'median' if over == 'sites' else 'pooled'} {metric}"

    def value(model: str) -> float:
        scores = card["models"][model][over][metric]
        return scores["median"] if over == "sites" else scores

    first, second = card["ranking"][:2]
    text = f"Best on held-out data by {words}: {first} ({_number(value(first))}), "
    text += f"then {second} ({_number(value(second))})."
    if first != "stefaland":
        rank = card["ranking"].index("stefaland") + 1
        text += f" StefaLand has rank {rank} of {len(card['ranking'])} "
        text += f"({_number(value('stefaland'))}): it is not the best model here."
    return text


def comparisons(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """StefaLand's score minus each other model's, with the interval of the difference."""
    rows = []
    for model, result in card["stefaland_minus"].items():
        sign = -1.0 if is_error(result["metric"]) else 1.0
        ends = sorted((sign * result["low"], sign * result["high"]))
        rows.append(
            {
                "model": model,
                "difference": _number(sign * result["difference"]),
                "interval": f"{_number(ends[0])} to {_number(ends[1])}",
                "share": f"{100 * result['share']:.0f} %",
            }
        )
    return rows


def fold_rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pooled ranking score of each model in each fold, the best model first."""
    metric = card["rank_by"]["metric"]
    return [
        {
            "model": model,
            "values": [_number(card["models"][model]["folds"][fold][metric])
                       for fold in fold_names(card)],
        }
        for model in card["ranking"]
    ]  # fmt: skip


def fold_names(card: Mapping[str, Any]) -> list[str]:
    """Names of the folds, sorted."""
    return sorted(next(iter(card["models"].values()))["folds"])


def caveats(card: Mapping[str, Any], folds: FoldSettings, has_maps: bool) -> list[str]:
    """Caveats that a reader of the scores must know, one sentence each."""
    return [
        held_out_sentence(folds),
        "Cells that share one source cell of the target are averaged before scoring, so each of "
        f"the {card['sites']} sites counts once.",
        *excluded_sentence(card),
        *(observed_sentences(card) if "targets" in card else unpredicted_sentence(card)),
        *([*mapped_sentence(card), MAPS_CAVEAT] if has_maps else []),
        *([PERSISTENCE_CAVEAT] if "persistence" in card["models"] else []),
        *card.get("caveats", []),
    ]


def mapped_sentence(card: Mapping[str, Any]) -> list[str]:
    """A sentence on the model of the maps; empty for scorecards of earlier versions."""
    return [card["mapped"]["sentence"]] if "mapped" in card else []


def excluded_sentence(card: Mapping[str, Any]) -> list[str]:
    """A sentence on the sites left out because of an impossible target; empty without any."""
    excluded = card.get("excluded", {"sites": []})
    if not excluded["sites"]:
        return []
    shown = ", ".join(str(site) for site in excluded["sites"][:20])
    more = ", …" if len(excluded["sites"]) > 20 else ""
    return [f"{len(excluded['sites'])} sites were left out because their target is not "
            f"{excluded['expected']}: {shown}{more}."]  # fmt: skip


def unpredicted_sentence(card: Mapping[str, Any]) -> list[str]:
    """A sentence on the observations left out because some model does not predict them."""
    count = card.get("not_predicted", 0)
    kind = "sites" if "parts" in card else "observed values"
    return [f"{count} {kind} are left out of all scores, because not every model has a prediction "
            "there."] * (count > 0)  # fmt: skip


def held_out_sentence(folds: FoldSettings) -> str:
    """A sentence on the locations and days that were held out from all models."""
    days = ""
    if folds.test_period:
        days = f"days from {folds.test_period[0]} to {folds.test_period[1]}"
    if folds.kind == "time":
        return (
            f"Scores are computed for {days}, on which no model was trained, at locations where "
            "all models were trained on other days; statistics for normalising come from the "
            "training period alone, and pretraining saw no day of the test."
        )
    kind = {
        "regions": "whole regions were held out (PUR)",
        "groups": "random groups of locations were held out (PUB)",
        "blocks": "blocks of degrees were held out",
    }[folds.kind]
    return (
        f"Scores are computed for locations{f' and {days}' if days else ''} on which no model was "
        f"trained: {kind}; "
        "statistics for normalising come from each fold's training cells alone, and pretraining "
        "saw no held-out cell."
    )
