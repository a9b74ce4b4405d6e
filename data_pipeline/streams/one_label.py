"""The warning that a corpus gives pairs of one label, from which a pair loss learns a constant."""

from data_pipeline.streams.samples import PretrainingSamples

LEAST_SHARE = 0.01
"""Share of the rarer label below which a corpus counts as one of a single label."""


def one_label(samples: PretrainingSamples) -> str | None:
    """Return what is wrong with the pair labels of a split, in one line; None if both labels occur.

    The shares are those of planned pairs, before any token is read.
    """
    names = samples.pairs.label_names
    share = samples.index.changed_share() if names else None
    if share is None or LEAST_SHARE <= share <= 1 - LEAST_SHARE:
        return None
    label, shown = names[share > 0.5], max(share, 1 - share)
    return (
        f"{shown:.1%} of the pairs of the {samples.split} split of {samples.folder} have the label {label}, so their "
        "loss learns a constant: pairs need documents of several sentences and of different texts; "
        "take objective=mlm pairs=full_sentences, or prepare the corpus with longer documents"
    )
