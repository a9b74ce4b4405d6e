"""The state of a stream comes back as it was, and what is none is refused by name."""

from typing import Any

import pytest

from data_pipeline.streams.stream_state import StreamState

STATE = StreamState(32, 8, {"seed": 3})


def test_a_state_comes_back_from_plain_values() -> None:
    assert StreamState.read(STATE.as_dict()) == STATE
    without = {name: value for name, value in STATE.as_dict().items() if name != "version"}
    assert StreamState.read(without) == STATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "has a position in the stream of version 2, not 1"),
        ({"consumed_samples": "many"}, "has consumed_samples='many', which must be a whole number from 0"),
        ({"global_batch_size": 0}, "has global_batch_size=0, which must be a whole number from 1"),
        ({"fingerprint": None}, "has fingerprint=None, which must be an object"),
    ],
    ids=str,
)
def test_what_is_no_state_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^the checkpoint {said}"):
        StreamState.read(STATE.as_dict() | change)
