"""Which finetuning settings decide the results of each model: those that it may have of its own."""

from __future__ import annotations

PRETRAINED = ("unfreeze", "layer_decay", "head_first")
"""Settings of a pretrained encoder."""
FINETUNED = ("adapter", "decoder", "dropout", *PRETRAINED)
"""Settings of networks with an encoder."""
BASELINE = ("baseline_dropout",)
"""Settings of baselines that are other networks."""
OF_ONE = ("lstm", "trees")
"""Sections that one kind of model reads."""
TREES = ("trees", "missing_share")
"""Settings of gradient-boosted trees, which read no others."""
WITH_ENCODER, OTHER_NETWORKS = ("scratch", "random_encoder"), ("lstm", "patchtst", "dlinear", "hbv")
OF_TREES = (
    "gradient_boosting", "gradient_boosting_embedding", "gradient_boosting_random_embedding",
)  # fmt: skip
WITHOUT = ("climatology", "persistence", "ridge")
"""Models that no setting changes; ridge chooses its penalty by itself."""


def reads(model: str, setting: str) -> bool:
    """Whether the setting, such as `optimiser.lr`, decides the results of the named model.

    Models of plugins may read any.

    >>> [reads(model, "unfreeze") for model in ("stefaland", "scratch", "lstm")]
    [True, False, False]
    """
    name = setting.partition(".")[0]
    if model in WITHOUT:
        return False
    if model in OF_TREES:
        return name in TREES
    if model in OTHER_NETWORKS:
        return name == model or name not in (*FINETUNED, *OF_ONE)
    if model in WITH_ENCODER:
        return name not in (*PRETRAINED, *BASELINE, *OF_ONE)
    return model != "stefaland" or name not in (*BASELINE, *OF_ONE)
