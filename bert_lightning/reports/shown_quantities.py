"""How a report shows the quantities of an objective, kept in the folder of the run: metrics.csv has names alone."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bert_lightning.objectives.objective import Quantity
from bert_lightning.settings.run_folder import write_whole
from data_pipeline.untrusted.typed_fields import checked

FORMATS = {"nats": "{:.3f}", "share": "{:.1%}", "squared": "{:,.3f}", "distance": "{:.3f}"}
"""Format of a figure, by the unit of the quantity."""
OTHER_FORMAT = "{:,.1f}"


@dataclass(frozen=True, slots=True)
class ShownQuantity:
    """How one quantity is shown.

    Attributes:
        name: Name in metrics.csv, without the split.
        title: Name for readers.
        unit: Unit of its chart; empty for a figure without a chart.
    """

    name: str
    title: str
    unit: str

    @property
    def format(self) -> str:
        """The format of the figure."""
        return FORMATS.get(self.unit, OTHER_FORMAT)


def shown_quantities(quantities: Mapping[str, Quantity]) -> Iterator[ShownQuantity]:
    """Yield what is shown of an objective: quantities that have a title, and the perplexities after them."""
    for name, quantity in quantities.items():
        if quantity.title:
            yield ShownQuantity(name, quantity.title, quantity.unit)
    for quantity in quantities.values():
        if quantity.perplexity:
            yield ShownQuantity(quantity.perplexity, quantity.perplexity.replace("_", " "), "")


def write_shown(path: Path, quantities: Mapping[str, Quantity]) -> None:
    """Keep how the quantities of an objective are shown."""
    write_whole(path, json.dumps([asdict(shown) for shown in shown_quantities(quantities)], indent=1) + "\n")


def read_shown(path: Path) -> list[ShownQuantity]:
    """Return how the quantities of a run are shown; nothing if the run is older than the file.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    return checked(content, list[ShownQuantity], str(path), "quantities")
