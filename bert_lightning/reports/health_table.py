"""The health table of a prepared corpus, as bert-prepare and bert-inspect show it."""

from rich.console import Console
from rich.table import Table

from data_pipeline.prepared.health import health_rows
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.untrusted.escaping import printable


def print_health(manifest: Manifest, console: Console) -> None:
    """Print the figures of a manifest, and a warning for each that is beyond its limit; nothing if it has none."""
    rows = health_rows(manifest.health)
    if not rows:
        return
    table = Table("figure", "value", title="\nhealth of the corpus")
    table.columns[1].justify = "right"
    for row in rows:
        table.add_row(printable(row.name), printable(row.value), style="yellow" if row.advice else None)
    console.print(table)
    for row in rows:
        if row.advice:
            console.print(printable(f"warning: {row.name}: {row.value}; what helps: {row.advice}"), style="yellow")
