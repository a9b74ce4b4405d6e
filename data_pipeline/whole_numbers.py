"""Whole numbers: the check that a setting is one and large enough, and numbers of things in words."""


def check_whole_number(name: str, value: object, least: int = 1, or_null: bool = False) -> None:
    """Refuse a setting that is not a whole number of at least `least`; true and false are no numbers.

    >>> check_whole_number("data.retries", 0, least=0)
    >>> check_whole_number("data.num_lanes", 1.5)
    Traceback (most recent call last):
    ...
    ValueError: data.num_lanes must be a whole number, at least 1; got 1.5

    Args:
        name: The key that a user types.
        value: Its value.
        least: The smallest value allowed.
        or_null: Whether None is allowed too.

    Raises:
        ValueError: naming the setting and its value.
    """
    if value is None and or_null:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}{', or null' * or_null}; got {value}")


def number_of(number: int, thing: str, things: str | None = None) -> str:
    """Return so many things in words.

    >>> number_of(1, "seed"), number_of(1200, "example"), number_of(0, "process", "processes")
    ('1 seed', '1,200 examples', '0 processes')

    Args:
        number: How many there are.
        thing: The noun for one.
        things: The noun for several; None puts an s behind that for one.
    """
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
