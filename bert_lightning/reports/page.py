"""Pages as HTML that needs no other file and no network: what they say is in `templates/`, and all of it is escaped."""

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_pipeline.untrusted.escaping import printable
from data_pipeline.whole_numbers import number_of


def render(template: str, **content: Any) -> Markup:
    """Return a page, or a section of one.

    Args:
        template: Name of a file in `templates/`.
        content: What the template shows, by name.
    """
    return Markup(_environment().get_template(template).render(**content))


def figure(value: float) -> str:
    """Return a number as a reader likes it: thousands set apart, four digits of what is below one thousand.

    >>> [figure(value) for value in (3657290.0, 1234.56, 0.61254, 2e-05, 12.0, float("nan"))]
    ['3,657,290', '1,234.6', '0.6125', '0.00002', '12', 'nan']
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.1f}".removesuffix(".0")
    return f"{value:.{3 - math.floor(math.log10(abs(value)))}f}".rstrip("0")


@cache
def _environment() -> Environment:
    """Return the engine. Every text is escaped as HTML, and control characters in it are spelled out."""
    environment = Environment(
        loader=PackageLoader("bert_lightning.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_spelled_out,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # Bokeh defines an object where it first stands
    environment.globals["chart_library"] = _chart_library
    environment.filters["thousands"] = "{:,}".format
    environment.filters["figure"] = figure
    environment.filters["number_of"] = number_of
    return environment


def _spelled_out(value: Any) -> Any:
    """Return a text with control characters spelled out and its line ends kept; HTML and other values as they are."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(printable(line) for line in value.split("\n"))


@cache
def _chart_library() -> Markup:
    """Return the script that draws charts, which every page carries."""
    from bokeh.resources import Resources

    return Markup("\n".join(Resources(mode="inline", components=["bokeh"]).js_raw))
