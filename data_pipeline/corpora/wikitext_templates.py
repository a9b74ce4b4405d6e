"""Text of the templates that carry numbers, dates and signs of running text: {{convert|5|km|mi}} is "5 kilometres".

What a template shows is written in the wiki, so only the commonest kinds are known here. The others leave a mark with
their name, by which they are counted.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

MARK = re.compile("\x02([^\x03]*)\x03")
"""What an unknown template leaves in running text: its name between two characters that XML cannot hold."""
_BETWEEN_LINKS = re.compile(r"\|(?![^\[\]]*\]\])")
_NAMED = re.compile(r"\s*[\w -]+=")
_FOOTNOTES = re.compile(
    r"(cit|sfn|harv|efn|refn|rp$|r$|#tag|fact$|cn$|clarify|when|who$|which|dubious|page |better source|by whom|failed"
    r"|vague|unreliable|verif|update|according to|where|weasel|anchor|clear|legend|coord|\w+ needed|flagicon"
    r"|main$|see also)"
)
"""Names of templates that show nothing, or nothing of the sentence."""
_MONTH_NAMES = "January February March April May June July August September October November December"
_MONTHS = _MONTH_NAMES.split()
_WHOLE_NUMBER = re.compile(r"\d{1,99}")
_SIGNS = {
    "'s": "'s",
    "'": "'",
    "=": "=",
    "nbsp": " ",
    "ndash": "\u2013",
    "mdash": "\u2014",
    "mdashb": "\u2014",
} | dict.fromkeys(("snd", "snds", "spnd", "spaced ndash"), " \u2013 ")
_RANGES = {"to": " to ", "and": " and ", "or": " or ", "-": "\u2013", "\u2013": "\u2013", "x": " by ", "by": " by "}
_UNITS = {
    "km": "kilometre kilometres",
    "m": "metre metres",
    "cm": "centimetre centimetres",
    "mm": "millimetre millimetres",
    "mi": "mile miles",
    "ft": "foot feet",
    "in": "inch inches",
    "yd": "yard yards",
    "nmi": "nautical|mile nautical|miles",
    "kg": "kilogram kilograms",
    "lb": "pound pounds",
    "oz": "ounce ounces",
    "ha": "hectare hectares",
    "acre": "acre acres",
    "acres": "acre acres",
    "km2": "square|kilometre square|kilometres",
    "m2": "square|metre square|metres",
    **dict.fromkeys(("sqmi", "sq mi"), "square|mile square|miles"),
    **dict.fromkeys(("sqft", "sq ft"), "square|foot square|feet"),
    "cu ft": "cubic|foot cubic|feet",
    "short ton": "short|ton short|tons",
    "long ton": "long|ton long|tons",
    "mph": "mile|per|hour miles|per|hour",
    "km/h": "kilometre|per|hour kilometres|per|hour",
    "C": "\u00b0C \u00b0C",
    "F": "\u00b0F \u00b0F",
}
"""Units of {{convert}}: one and several; other codes are shown as they are."""

Arguments = Sequence[str]
Options = Mapping[str, str]


def shown(template: re.Match[str]) -> str:
    r"""Return the text of a template without templates inside, its mark, or "" for one that begins a line.

    >>> pattern = re.compile("{{[^{}]*}}")
    >>> pattern.sub(shown, "It is {{convert|1300|mi|km}} long, as of {{date|May|1990}}.")
    'It is 1,300 miles long, as of May 1990.'
    >>> pattern.sub(shown, "{{Infobox|a=b}}It is {{lang|de|kalt}}.")
    'It is \x02lang\x03.'
    """
    first, *rest = _BETWEEN_LINKS.split(template[0][2:-2])
    name, colon, value = first.partition(":")
    name = " ".join(name.replace("_", " ").lower().split())
    arguments = [part.strip() for part in ([value] if colon else []) + rest]
    options = dict(part.split("=", 1) for part in arguments if _NAMED.match(part))
    positional = [part for part in arguments if part and not _NAMED.match(part)]
    if name in _SIGNS:
        return _SIGNS[name]
    if name in _KINDS and positional:
        return _KINDS[name](positional, {key.strip(): value.strip() for key, value in options.items()})
    begins_line = template.start() == 0 or template.string[template.start() - 1] == "\n"
    return "" if begins_line or _FOOTNOTES.match(name) else f"\x02{name}\x03"


def counted(text: str) -> Counter[str]:
    """Return how often each unknown template left its mark in a text."""
    return Counter(f"template {{{{{name}}}}}" for name in MARK.findall(text))


def _first(arguments: Arguments, options: Options) -> str:
    return arguments[0]


def _together(arguments: Arguments, options: Options) -> str:
    return " ".join(arguments)


def _with_commas(number: str) -> str:
    return f"{int(number):,}" if re.fullmatch("[0-9]{4,99}", number) else number.replace("+", " ")


def _convert(arguments: Arguments, options: Options) -> str:
    text, left = _with_commas(arguments[0]), list(arguments[1:])
    while len(left) > 1 and left[0] in _RANGES:
        text, left = text + _RANGES[left[0]] + _with_commas(left[1]), left[2:]
    if not left:
        return text
    unit = left[0]
    is_adjective = options.get("adj", "off") != "off"
    one, several = _UNITS[unit].split() if unit in _UNITS else (unit, unit)
    name = unit if options.get("abbr") in ("on", "in") else one if is_adjective or text == "1" else several
    if options.get("sp") == "us":
        name = re.sub("metre", "meter", name)
    shown_unit = f"{'-' if is_adjective else ' '}{name.replace('|', ' ')}"
    below = left[1:3]
    if len(below) == 2 and below[1] in ("in", "lb", "oz") and below[0][0].isdigit():  # 6 feet 2 inches
        return f"{text}{shown_unit} {_convert(below, options)}"
    return text + shown_unit


def _val(arguments: Arguments, options: Options) -> str:
    power = f"\u00d710^{options['e']}" if "e" in options else ""
    unit = f" {options.get('u') or options.get('ul')}" if "u" in options or "ul" in options else ""
    return arguments[0] + power + unit


def _date(arguments: Arguments, options: Options) -> str:
    """Return the date of year, month and day, or of words in the order of the language."""
    if not all(map(_WHOLE_NUMBER.fullmatch, arguments[:3])) or len(arguments[0]) < 3:
        return " ".join(arguments)
    year, *rest = arguments[:3]
    months = [_MONTHS[int(month) - 1] for month in rest[:1] if 0 < int(month) < 13]
    if len(rest) < 2 or not months:
        return " ".join([*months, year])
    day = str(int(rest[1]))
    return f"{day} {months[0]} {year}" if options.get("df", "n")[:1] == "y" else f"{months[0]} {day}, {year}"


def _as_of(arguments: Arguments, options: Options) -> str:
    begin = "as of" if options.get("lc", "n")[:1] == "y" else "As of"
    return f"{begin} {_date(arguments, {'df': 'y', **options})}"


def _circa(arguments: Arguments, options: Options) -> str:
    return f"c. {arguments[0]}"


def _power(arguments: Arguments, options: Options) -> str:
    return f"\u00d710^{arguments[0]}"


def _fraction(arguments: Arguments, options: Options) -> str:
    whole, parts = arguments[:-2], ["1", *arguments][-2:]
    return " ".join([*whole, "/".join(parts)])


_KINDS: dict[str, Callable[[Arguments, Options], str]] = {
    **dict.fromkeys(
        ("formatnum", "num", "nombre", "nowrap", "nobr", "small", "big", "large", "sc", "railgauge"), _first
    ),
    **dict.fromkeys(("unit\u00e9", "unit"), _together),
    **dict.fromkeys(("convert", "cvt"), _convert),
    **dict.fromkeys(("date", "dts", "start date", "end date", "birth date", "birth date and age", "death date"), _date),
    **dict.fromkeys(("circa", "c.", "ca."), _circa),
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    "e": _power,
    "val": _val,
    "as of": _as_of,
}
