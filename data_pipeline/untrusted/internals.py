"""The one check for uses of names that a library does not promise to keep."""


def check_internal(owner: object, name: str, checked_with: str) -> None:
    """Make sure that an object has the private name that is about to be replaced or relied on.

    Setting or overriding a name that no longer exists would have no effect and say nothing.

    Args:
        owner: The class, module or object of the library.
        name: The private name.
        checked_with: Library and version in which its meaning was read, such as "lightning 2.6.6".

    Raises:
        RuntimeError: if the name is missing.

    >>> check_internal(dict, "_merge", "Python 3.11")
    Traceback (most recent call last):
    ...
    RuntimeError: dict has no _merge, which is needed and was there in Python 3.11; install that version
    """
    if not hasattr(owner, name):
        named = getattr(owner, "__name__", type(owner).__name__)
        raise RuntimeError(
            f"{named} has no {name}, which is needed and was there in {checked_with}; install that version"
        )
