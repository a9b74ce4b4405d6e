"""Splitting of paragraphs into sentences, none of which is much too long.

The rules of a language find most ends of sentences. They fail behind quotation marks that do not come in pairs
('twas), inside long quotations, and in text without such ends: notes, lists, transcripts, Thai. A sentence that is too
long is split again without its quotation marks, and then cut: at a line end, else a semicolon, a comma, or a space.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise

import sentencex

LONGEST_SENTENCE = 600
"""Letters of a sentence, about 100 English words."""
LONGEST_UNSPACED = 200
"""Letters of a sentence of a script without spaces between words."""
LONGEST_BLOCK = 8192
"""Letters that are split at a time; the time of sentencex grows with their square."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_OPENING = "\u2018\u201a\u201b\u201c\u201e\u201f\u00ab\u2039\u300c\u300e"
_CLOSING = "\u2019\u201d\u00bb\u203a\u300d\u300f"
_EITHER = "\"'\uff02\uff07"
_QUOTES = re.compile(f"[{_OPENING}{_CLOSING}{_EITHER}]")
_CLOSED = re.compile(f"[{_CLOSING})\u3009\u300b\u3011\uff09\uff3d]+")
_BLOCK_END = re.compile(
    rf"\w{{3}}[.!?][{_CLOSING}{_EITHER})\]]*\s|[\u3002\uff01\uff1f][{_CLOSING}{_EITHER})\uff09]*|\n"
)
_PART_ENDS = [
    re.compile(pattern)
    for pattern in (r"\n", "[;:\u2014\u061b](?=\\s)|[\uff1b\uff1a]", "[,\u060c](?=\\s)|[\uff0c\u3001]", r"\s")
]
"""Where a sentence that is too long is cut, best first."""


def split_sentences(paragraphs: Iterable[str], language: str = "en") -> list[str]:
    """Split paragraphs into sentences by the rules of a language; no sentence is empty or spans two paragraphs.

    Args:
        paragraphs: Running text. A line break in a paragraph is a space, and a good end of a part if a sentence has to
            be cut.
        language: ISO 639-1 code.

    >>> split_sentences(["Dr. Smith lives here. He is 4.5 years old."])
    ['Dr. Smith lives here.', 'He is 4.5 years old.']
    """
    pieces = (piece for paragraph in paragraphs for block in _blocks(paragraph) for piece in _split(block, language))
    return [sentence for piece in pieces if (sentence := piece.replace("\n", " ").strip())]


def _split(text: str, language: str) -> Iterator[str]:
    for sentence in _slices(text, _ends(text, language)):
        if len(sentence) <= _longest(sentence):
            yield sentence
        else:
            for part in _slices(sentence, _ends_without_quotes(sentence, language)):
                yield from _parts(part)


def _slices(text: str, ends: Iterable[int]) -> Iterator[str]:
    """Yield the pieces of a text that end at ascending offsets, and the rest."""
    for begin, end in pairwise([0, *ends, len(text)]):
        if begin < end:
            yield text[begin:end]


def _ends(text: str, language: str) -> Iterator[int]:
    """Yield where the sentences of a text end: behind closing marks, but before an apostrophe behind a space."""
    for end in accumulate(map(len, sentencex.segment(language, text.replace("\n", " ")))):
        if text[end - 2 : end - 1].isspace() and text[end - 1] in _CLOSING:
            yield end - 1
        else:
            closed = None if text[end - 1].isspace() else _CLOSED.match(text, end)
            yield closed.end() if closed else end


def _ends_without_quotes(text: str, language: str) -> Iterator[int]:
    """Yield where the sentences of a text would end if it had no quotation marks, before the opening marks there."""
    kept_before = [match.start() - number for number, match in enumerate(_QUOTES.finditer(text))]
    unquoted = _QUOTES.sub("", text)
    for end in _ends(unquoted, language):
        start = end + bisect_right(kept_before, end) if end < len(unquoted) else len(text)
        while start > 1 and (text[start - 1] in _OPENING or (text[start - 1] in _EITHER and text[start - 2].isspace())):
            start -= 1
        yield start


def _longest(text: str) -> int:
    """Return how many letters a text may have as one sentence."""
    is_spaced = len(text) <= LONGEST_UNSPACED or text.isascii()
    return LONGEST_SENTENCE if is_spaced or 2 * len(_UNSPACED.findall(text)) < len(text) else LONGEST_UNSPACED


def _parts(text: str) -> Iterator[str]:
    """Cut a sentence that is too long; words stay whole in scripts with spaces."""
    longest = _longest(text)
    begin = 0
    while len(text) - begin > longest:
        end = _last_end(text, begin, longest)
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _last_end(text: str, begin: int, longest: int) -> int:
    """Return where a part of a text should end that begins at an offset and has about `longest` letters."""
    for pattern in _PART_ENDS:
        ends = [match.end() for match in pattern.finditer(text, begin + longest // 4, begin + longest)]
        if ends:
            return ends[-1]
    if longest == LONGEST_SENTENCE:
        space = _PART_ENDS[-1].search(text, begin + longest)
        return space.end() if space else len(text)
    later = range(begin + longest, len(text))
    return next((end for end in later if unicodedata.category(text[end])[0] != "M"), len(text))


def _blocks(text: str) -> Iterator[str]:
    """Cut a very long paragraph, after a sentence if one seems to end nearby."""
    begin = 0
    while len(text) - begin > LONGEST_BLOCK:
        ends = [match.end() for match in _BLOCK_END.finditer(text, begin + LONGEST_BLOCK // 2, begin + LONGEST_BLOCK)]
        end = ends[-1] if ends else _last_end(text, begin, LONGEST_BLOCK)
        yield text[begin:end]
        begin = end
    yield text[begin:]
