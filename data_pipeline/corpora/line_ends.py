"""Line ends and white space as other programs and other systems write them."""

import re

_LINE_ENDS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE_SPACES = str.maketrans({"\u200b": " ", "\ufeff": " "})


def plain_line_ends(text: str) -> str:
    r"""Return a text whose lines all end with a line feed.

    >>> plain_line_ends("DOS\r\nold Mac\rpage\x0cUnicode\u2028end")
    'DOS\nold Mac\npage\nUnicode\nend'
    """
    return _LINE_ENDS.sub("\n", text.replace("\r\n", "\n"))


def plain_spaces(text: str) -> str:
    r"""Return a text with spaces for zero-width spaces and byte-order marks, which would join the words beside them.

    >>> plain_spaces("one\u200btwo\ufeff")
    'one two '
    """
    return text if text.isascii() else text.translate(_INVISIBLE_SPACES)
