"""Sentences and tables of the report for a scorecard."""

from __future__ import annotations

from typing import Any

from workflows.config.folds import FoldSettings
from workflows.products.report_text import caveats, comparisons, fold_rows, score_rows, verdict


def card(**changes: Any) -> dict[str, Any]:
    """A scorecard of a static target with two models, of which the baseline is better."""
    scores = {
        name: {"pooled": {"RMSE": error, "R2 sand": None}, "folds": {"b": {"RMSE": error},
               "a": {"RMSE": 2 * error}}}
        for name, error in (("ridge", 0.1), ("stefaland", 0.25))
    }  # fmt: skip
    gap = {"metric": "RMSE", "difference": -0.15, "low": -0.2, "high": -0.1, "share": 0.3}
    return {
        "parts": ["sand"], "models": scores, "ranking": ["ridge", "stefaland"], "sites": 12,
        "rank_by": {"metric": "RMSE", "over": "pooled"}, "stefaland_minus": {"ridge": gap},
        **changes,
    }  # fmt: skip


def test_the_best_model_and_the_rank_of_ours_are_named() -> None:
    assert verdict(card()) == (
        "Best on held-out data by pooled RMSE: ridge (0.100), then stefaland (0.250). StefaLand "
        "has rank 2 of 2 (0.250): it is not the best model here."
    )
    assert "does not win" not in verdict(card(ranking=["stefaland", "ridge"]))


def test_tables_have_the_best_model_first_and_a_dash_where_there_is_no_score() -> None:
    names, rows = score_rows(card())
    assert names == ["RMSE", "R2 sand"]
    assert rows[0] == {"model": "ridge", "values": ["0.100", "—"], "best": True}
    assert [row["values"] for row in fold_rows(card())] == [["0.200", "0.100"], ["0.500", "0.250"]]
    # Errors are compared with their sign turned: the report shows them as errors again.
    assert comparisons(card()) == [
        {"model": "ridge", "difference": "0.150", "interval": "0.100 to 0.200", "share": "30 %"}
    ]


def test_caveats_are_those_of_the_folds_the_models_and_the_sites_left_out() -> None:
    folds = FoldSettings(kind="groups")
    plain = caveats(card(), folds, has_maps=False)
    assert len(plain) == 2
    assert "random groups of locations were held out (PUB)" in plain[0]
    left_out = {"sites": [3, 4], "expected": "a whole"}
    more = card(excluded=left_out, not_predicted=2, caveats=["Taken over."])
    more["models"]["persistence"] = {}
    text = caveats(more, folds, has_maps=True)
    assert [line.split()[0] for line in text[2:]] == ["2", "2", "The", "Persistence", "Taken"]
