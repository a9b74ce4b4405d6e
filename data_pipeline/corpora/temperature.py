"""Weights of languages by a temperature: small languages are repeated, large ones stay as they are."""

import math
from collections import Counter
from collections.abc import Mapping


def repeats(sizes: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Return how often the text of each language is to be read; 1 for the largest, and nothing is left out.

    A language with a share p of the text gets a share proportional to p^(1/temperature), as multilingual BERT does with
    1/temperature = 0.7 and XLM-R with 0.3 (Conneau et al., 2020, section 3.1).

    >>> repeats({"en": 800.0, "is": 50.0}, 2)
    {'en': 1.0, 'is': 4.0}

    Raises:
        ValueError: The temperature is not a number from 1 on.
    """
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not 1 <= temperature < math.inf:
        raise ValueError(f"corpus.temperature must be null or a number from 1 on; got {temperature}")
    largest = max(sizes.values())
    return {language: (largest / size) ** (1 - 1 / temperature) for language, size in sizes.items()}


def repeats_of_sources(sources: Mapping[str, tuple[str, int | None]], temperature: float) -> dict[str, float]:
    """Return how often each source is to be read.

    Args:
        sources: Language and size of each source, by name.
        temperature: As for `repeats`.

    Raises:
        ValueError: The size of a source is unknown or 0, or the temperature is not a number from 1 on.
    """
    sizes = Counter[str]()
    for name, (language, size) in sources.items():
        if not size:
            raise ValueError(
                f"corpus.temperature={temperature} needs the size of every source; that of corpus {name} is "
                f"{'unknown' if size is None else size}, so set corpus.<key>.weight instead"
            )
        sizes[language] += size
    factors = repeats(sizes, temperature)
    return {name: factors[language] for name, (language, _) in sources.items()}
