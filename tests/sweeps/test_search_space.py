"""What may be searched, in Hydra's words."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_lightning.sweeps.search_space import SearchSpace, search_space


def space(*words: str) -> SearchSpace:
    return search_space(OverridesParser.create().parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("a=interval(0.1,0.5)", FloatDistribution(0.1, 0.5)),
        ("a=interval(1,8)", FloatDistribution(1.0, 8.0)),
        ("a=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=tag(log,int(interval(1,8)))", IntDistribution(1, 8, log=True)),
        ("a=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("a=range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("a=range(0.1,0.5,0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("a=1,2,x", CategoricalDistribution([1, 2, "x"])),
        ("a=true,null", CategoricalDistribution([True, None])),
        ("a=[0.9,0.98],[0.9,0.999]", CategoricalDistribution(["[0.9,0.98]", "[0.9,0.999]"])),
        ("+a=1,2", CategoricalDistribution([1, 2])),
        ("a=shuffle(3,1,2)", CategoricalDistribution([1, 2, 3])),
    ],
)
def test_every_sweep_of_hydra_is_a_dimension(word: str, distribution: object) -> None:
    """A range has no end, as in Hydra."""
    assert space(word).distributions == {"a": distribution}


def test_values_are_written_as_the_command_line_has_them() -> None:
    found = space("~callbacks.guesses", "b='x y'", "+a=interval(0,1)", "c=true,null", "d=[1],[2]", "b='y z'")
    assert found.fixed == ("~callbacks.guesses", "b='y z'")
    assert found.overrides({"a": 0.1 + 0.2, "c": None, "d": "[1]"}) == [
        *found.fixed,
        "+a=0.30000000000000004",
        "c=null",
        "d=[1]",
    ]
    parsed = OverridesParser.create().parse_overrides(found.overrides({"a": 1e-07, "c": True, "d": "[2]"}))
    assert [each.value() for each in parsed[2:]] == [1e-07, True, [2]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a=1", "b=x"), "hydra/sweeper=optuna has nothing to search"),
        (("run_name=a,b",), "run_name cannot be searched"),
        (("seed=1,2",), "seed cannot be searched: .* --multirun alone trains all of seed=1,2"),
        (("a=tag(log,interval(0,1))",), "a: .*low.*"),
        (("a=tag(log,choice(1,2))",), "a is a choice, which has no scale"),
        (("a=tag(log,range(1,9,2))",), "a is a range with a step on a log scale"),
    ],
)
def test_what_cannot_be_searched_is_named(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        space(*words)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"e": 1}, "names e, which is not searched: a, b are"), ({"a": 2}, "a=2, but .* 0.0 to 1.0"), ({"b": 3}, "b=3")],
)
def test_known_values_are_of_the_space(values: dict[str, object], said: str) -> None:
    found = space("a=interval(0,1)", "b=1,[2]")
    assert found.check({"a": 0.5, "b": [2]}, "enqueue") == {"a": 0.5, "b": "[2]"}
    with pytest.raises(ValueError, match=said):
        found.check(values, "enqueue")


def test_known_values_may_be_given_without_the_quotes_of_hydra() -> None:
    """YAML takes the quotes of a text in hydra.sweeper.enqueue away, as the shell does."""
    found = space("a='x y','y z'")
    assert found.check({"a": "x y"}, "enqueue") == found.check({"a": "'x y'"}, "enqueue") == {"a": "'x y'"}
    with pytest.raises(ValueError, match="a=x z, but the search is over 'x y', 'y z'"):
        found.check({"a": "x z"}, "enqueue")
