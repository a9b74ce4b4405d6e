"""The check that a setting is a whole number and large enough."""


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
