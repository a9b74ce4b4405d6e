"""Tasks as text: what a causal model reads before it is asked for an answer (Radford et al., 2019; Brown et al., 2020).

A template has the names of fields in braces, such as {text}; everything else stands as it is.
"""

import re
from collections.abc import Mapping, Sequence

_FIELD = re.compile(r"\{(\w+)\}")


def read_template(template: str, fields: Sequence[str], setting: str = "template") -> str:
    r"""Return a template as a user types it with \n as a line break.

    >>> read_template(r"{text}\nTL;DR:", ["text"])
    '{text}\nTL;DR:'

    Args:
        template: The template.
        fields: Names of the fields that it may have, one of which it must have.
        setting: Name of the setting, for errors.

    Raises:
        ValueError: if it has none of the fields, or another one.
    """
    named = _FIELD.findall(template)
    known = ", ".join(f"{{{name}}}" for name in fields)
    if not named or not set(named) <= set(fields):
        raise ValueError(f"{setting} must have one or more of {known}, and no other name in braces; got {template}")
    return template.replace("\\n", "\n")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with the values of its fields; braces in values are text.

    >>> filled("Q: {text} A:", {"text": "who {is} it?"})
    'Q: who {is} it? A:'
    """
    return _FIELD.sub(lambda field: values[field[1]], template)
