"""Processes that tests start begin 3 s sooner: Lightning imports torchmetrics without what only its other metrics need.

If transformers, SciPy and Matplotlib are installed, torchmetrics imports all three for metrics of text and of sound and
for charts. No command of ours has these metrics. Python imports this module when a process begins, because
tests/conftest.py puts its folder on PYTHONPATH.
"""

import sys

LEFT_OUT = ("transformers", "scipy", "matplotlib")


class BeforeTorchmetrics:
    """A finder of modules that finds none; torchmetrics is told first that packages are not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Change what torchmetrics asks whether a package is installed."""
        if name == "torchmetrics":
            from lightning_utilities.core import imports

            is_met, is_available = imports.RequirementCache.__bool__, imports.package_available
            imports.RequirementCache.__bool__ = lambda self: (  # type: ignore[method-assign]
                not str(self.requirement).startswith(LEFT_OUT) and is_met(self)
            )
            imports.package_available = lambda name: name not in LEFT_OUT and is_available(name)


sys.meta_path.insert(0, BeforeTorchmetrics)  # type: ignore[arg-type]
