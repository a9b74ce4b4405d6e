"""Pages as HTML that needs no other file and no network: what they say is in `templates/`, and all of it is escaped."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_pipeline.untrusted.escaping import printable


def render(template: str, **content: Any) -> Markup:
    """Return a page, or a section of one.

    Args:
        template: Name of a file in `templates/`.
        content: What the template shows, by name.
    """
    return Markup(_environment().get_template(template).render(**content))


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
