"""What a search may choose from, in Hydra's words: choice, interval and range, with tag(log, ...) for a log scale."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override, RangeSweep, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from bert_lightning.settings.typed_words import IN_QUOTES

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The dimensions of a search.

    Attributes:
        distributions: The values of every key that is searched.
        written: How the command line writes these keys, such as +model.some_size.
        fixed: The overrides that are the same for every trial.
    """

    distributions: dict[str, BaseDistribution]
    written: dict[str, str]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Return all overrides of a trial."""
        return [*self.fixed, *(f"{self.written[key]}={as_text(value)}" for key, value in values.items())]

    def check(self, values: Mapping[str, Any], setting: str) -> Values:
        """Return known values as the space writes them.

        Raises:
            ValueError: naming a key that is not searched, or a value that the space does not have.
        """
        checked = {}
        for key, value in values.items():
            if key not in self.distributions:
                raise ValueError(f"{setting} names {key}, which is not searched: {', '.join(self.distributions)} are")
            distribution = self.distributions[key]
            plain = _choice(value, distribution) if isinstance(distribution, CategoricalDistribution) else value
            try:
                is_in = distribution._contains(distribution.to_internal_repr(plain))
            except (TypeError, ValueError):
                is_in = False
            if not is_in:
                raise ValueError(f"{setting} has {key}={value}, but the search is over {described(distribution)}")
            checked[key] = plain
        return checked


def search_space(overrides: Iterable[Override]) -> SearchSpace:
    """Return what the overrides of a command line say; a key that is given twice has its last value.

    Raises:
        ValueError: if no key is searched, or a scale does not fit.
    """
    last = {override.get_key_element(): override for override in overrides}
    swept = {key: override for key, override in last.items() if override.is_sweep_override()}
    if not swept:
        raise ValueError(
            "hydra/sweeper=optuna has nothing to search; give values such as 'optimizer.lr=interval(1e-4,1e-3)'"
        )
    names = {key.lstrip("+"): key for key in swept}
    if taken := sorted({"run_name", "output_dir", "run_dir", "resume"} & set(names)):
        raise ValueError(f"{taken[0]} cannot be searched: the trials lie in <output_dir>/<run_name>/trial-<number>")
    if "seed" in names:
        raise ValueError(
            "seed cannot be searched: a search chooses settings, and a seed is luck; --multirun alone trains all of "
            f"{swept[names['seed']].input_line}"
        )
    distributions = {name: _distribution(name, swept[key]) for name, key in names.items()}
    fixed = tuple(_written(key, override) for key, override in last.items() if key not in swept)
    return SearchSpace(distributions, names, fixed)


def _written(key: str, override: Override) -> str:
    """Return an override that is not a sweep as the command line has it."""
    if override.is_delete() and "=" not in str(override.input_line):
        return key
    return f"{key}={override.get_value_element_as_str()}"


def _distribution(name: str, override: Override) -> BaseDistribution:
    value: Any = override.value()
    is_log = "log" in (getattr(value, "tags", None) or set())
    if override.is_interval_sweep():
        kind = IntDistribution if isinstance(value.start, int) else FloatDistribution
        return _made(name, kind, low=value.start, high=value.end, log=is_log)
    choices = [_encoded(each) for each in override.sweep_iterator(transformer=Transformer.identity)]
    if not choices:
        raise ValueError(f"{name} has no values to search")
    if not isinstance(value, RangeSweep) or value.shuffle or len(choices) == 1:
        if is_log:
            raise ValueError(f"{name} is a choice, which has no scale; tag(log, ...) is for interval and range")
        if getattr(value, "shuffle", False):
            choices.sort(key=as_text)  # Hydra shuffles them anew at every start
        return CategoricalDistribution(list(dict.fromkeys(choices)))
    kind = IntDistribution if all(isinstance(each, int) for each in choices) else FloatDistribution
    steps = {} if is_log else {"step": abs(value.step)}
    if is_log and abs(value.step) != 1:
        raise ValueError(
            f"{name} is a range with a step on a log scale; take tag(log, interval(...)), or leave out log"
        )
    return _made(name, kind, low=min(choices), high=max(choices), log=is_log, **steps)


def _made(name: str, kind: Any, **arguments: Any) -> BaseDistribution:
    try:
        distribution: BaseDistribution = kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {' '.join(str(error).split())}") from None
    return distribution


def _encoded(value: Any) -> Any:
    """Return a value as Optuna keeps it: a number, a truth value or text; lists and groups as Hydra writes them."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(Override._get_value_element_as_str(value))


def _choice(value: Any, distribution: CategoricalDistribution) -> Any:
    """Return a value as the choices have it: a text that Hydra needs in quotes is among them with its quotes."""
    if not isinstance(value, str):
        return _encoded(value)
    if value in distribution.choices:
        return value
    in_quotes = (each for each in distribution.choices if isinstance(each, str) and IN_QUOTES.fullmatch(each))
    return next((each for each in in_quotes if each[1:-1] == value), _encoded(value))


def as_text(value: Any) -> str:
    """Return a value as the command line has it.

    >>> as_text(True), as_text(None), as_text(1e-3), as_text("bert_mini")
    ('true', 'null', '0.001', 'bert_mini')
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def described(distribution: BaseDistribution) -> str:
    """Return a distribution in words.

    >>> described(FloatDistribution(1e-4, 1e-2, log=True)), described(CategoricalDistribution(["a", True]))
    ('0.0001 to 0.01 on a log scale', 'a, true')
    """
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(as_text, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    scale = " on a log scale" if distribution.log else ""
    has_step = distribution.step is not None and (isinstance(distribution, FloatDistribution) or distribution.step > 1)
    steps = f" in steps of {distribution.step}" if has_step else ""
    return f"{distribution.low} to {distribution.high}{steps}{scale}"


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Let a trial take a value that it has not got yet; one that it has stays."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        step = distribution.step
        return trial.suggest_int(name, distribution.low, distribution.high, step=step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high
    return trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)
