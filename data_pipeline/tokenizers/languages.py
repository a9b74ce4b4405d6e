"""What a tokenizer trained on a language removes from it by default."""

from collections.abc import Collection

PLAIN_LANGUAGES = frozenset({"en"})
"""Languages that lose nothing with their accents. In others, words differ by an accent, or the vowels are marks."""
LANGUAGES_WITH_JOINERS = frozenset(
    {
        *("fa", "ckb", "ku", "ps", "sd", "ug", "ur"),  # the half-space between the parts of a word
        *("as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "or", "pa", "sa", "si", "ta", "te"),  # forms of letters
    }
)
"""Languages whose words are written with U+200C or U+200D."""


def default_strip_accents(languages: Collection[str]) -> bool | None:
    """Return what `strip_accents` is for languages if a user does not say: None, as `lowercase`, or False.

    >>> default_strip_accents(["en"]), default_strip_accents(["en", "hi"])
    (None, False)
    """
    return None if PLAIN_LANGUAGES.issuperset(languages) else False


def default_keep_joiners(languages: Collection[str]) -> bool | None:
    """Return what `keep_joiners` is for languages if a user does not say: True, or None for what BERT does.

    >>> default_keep_joiners(["en"]), default_keep_joiners(["en", "fa"])
    (None, True)
    """
    return None if LANGUAGES_WITH_JOINERS.isdisjoint(languages) else True
