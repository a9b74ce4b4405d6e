"""What would act on a terminal is spelled out; what people write stays."""

import pytest

from data_pipeline.untrusted.escaping import printable


@pytest.mark.parametrize(
    "acting",
    ["\x1b]0;title\x07", "\x1b[2J", "\x9b2J", "\r", "\n", "\x00", "\x7f", "\u2028", "\u202e", "\u2066", "\ud800"],
)
def test_what_acts_is_spelled_out(acting: str) -> None:
    shown = printable(f"a{acting}b")
    assert shown.startswith("a\\")
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["", "king", "naïve", "می‌خواهم", "क्‍ष", "東京　駅", "##ing", "[MASK]", "👩‍🚀", "a\\nb"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text
