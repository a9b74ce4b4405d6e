"""Fields of others have the type and range that a dataclass says, or an error names file and field."""

from dataclasses import dataclass, field

import pytest

from data_pipeline.untrusted.typed_fields import LARGEST, build, entry, shown, whole_number


@dataclass(frozen=True)
class Part:
    name: str
    size: int


@dataclass(frozen=True)
class Whole:
    parts: dict[str, list[Part]]
    weight: float = 1.0
    is_last: bool = False
    note: str | None = None
    anything: object = None
    tags: list[str] = field(default_factory=list)


GOOD = {"parts": {"train": [{"name": "a", "size": 3}]}, "weight": 2, "tags": ["x"]}


def test_a_dataclass_is_built_of_plain_values() -> None:
    assert build(Whole, GOOD, "x.json") == Whole({"train": [Part("a", 3)]}, 2, tags=["x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": []}, r"has parts=\[\], which must be an object"),
        ({"parts": {"train": {}}}, r"has parts\.train=\{\}, which must be a list"),
        ({"parts": {"train": [7]}}, r"has parts\.train\[0\]=7, which must be an object"),
        ({"parts": {"train": [{"name": "a"}]}}, r"lacks parts\.train\[0\]\.size"),
        ({"parts": {"train": [{"name": "a", "size": -1}]}}, r"has parts\.train\[0\]\.size=-1, which must be a whole"),
        ({"parts": {"train": [{"name": "a", "size": "3"}]}}, r"has parts\.train\[0\]\.size='3'"),
        ({"parts": {"train": [{"name": "a", "size": True}]}}, r"has parts\.train\[0\]\.size=True"),
        ({"parts": {"train": [{"name": "a", "size": 3.0}]}}, r"has parts\.train\[0\]\.size=3\.0"),
        ({"parts": {"train": [{"name": "a", "size": 10**30}]}}, r"has parts\.train\[0\]\.size=10+"),
        ({"parts": {7: []}}, "has parts a key=7, which must be a name"),
        ({"weight": float("nan")}, "has weight=nan, which must be a finite number"),
        ({"weight": 10**400}, "has weight=a number of 1329 bits"),
        ({"weight": "1"}, "has weight='1'"),
        ({"is_last": 1}, "has is_last=1, which must be true or false"),
        ({"note": 5}, "has note=5, which must be text"),
        ({"tags": ["x", None]}, r"has tags\[1\]=None"),
        ({"more": 1}, "has the unknown more"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=rf"^x\.json {said}"):
        build(Whole, GOOD | change, "x.json")


def test_a_dataclass_that_checks_itself_names_the_file() -> None:
    @dataclass
    class Even:
        size: int

        def __post_init__(self) -> None:
            if self.size % 2:
                raise ValueError(f"size={self.size} is odd")

    with pytest.raises(ValueError, match=r"^x\.json: size=3 is odd"):
        build(Even, {"size": 3}, "x.json")


def test_whole_numbers_have_a_range() -> None:
    assert whole_number(3, "x", "n", 3, 3) == 3
    for wrong in (2, 4, "3", 3.0, True, None, -(10**5000)):
        with pytest.raises(ValueError, match=r"^x has n=.* which must be a whole number from 3 to 3"):
            whole_number(wrong, "x", "n", 3, 3)
    with pytest.raises(ValueError, match=f"to {LARGEST}"):
        whole_number(LARGEST + 1, "x", "n")


def test_entries_that_are_absent_are_named_with_their_path() -> None:
    content = {"a": [{"b": 1}]}
    assert entry(content, "a", 0, "b", where="x") == 1
    for path, said in [
        (("c",), "x lacks c"),
        (("a", 1), r"x lacks a\.1"),
        (("a", 0, "b", "c"), r"x lacks a\.0\.b\.c: what should hold it is 1"),
        (("a", "b"), r"x lacks a\.b: what should hold it is \["),
    ]:
        with pytest.raises(ValueError, match=said):
            entry(content, *path, where="x")


def test_values_are_shown_short() -> None:
    for value in ("x" * 10**6, [[[[[[[[[[1]]]]]]]]]], list(range(10**5)), 10**100_000, {"a": "x" * 10**6}):
        assert len(shown(value)) < 200
