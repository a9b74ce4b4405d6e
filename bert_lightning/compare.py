"""bert-compare: whether two fine-tuned models differ, by a paired bootstrap on their predictions."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bert_lightning.comparisons.kept_predictions import KeptPredictions, check_same_examples, read_kept
from bert_lightning.comparisons.paired_bootstrap import Difference, paired_bootstrap
from bert_lightning.comparisons.resampled_metrics import checked_metrics
from bert_lightning.settings.cli import entry_point
from bert_lightning.settings.run_folder import check_file_place, write_whole
from bert_lightning.settings.setting_types import check_values
from data_pipeline.whole_numbers import check_whole_number, number_of

FOLDERS = ("first", "second")


def compare(cfg: DictConfig) -> dict[str, Difference]:
    """Compare two folders of bert-finetune, print the differences, and write them as JSON if asked.

    Returns:
        The difference of every metric, by its name.

    Raises:
        ValueError: naming the setting that is wrong, the file that is missing, or the first example that differs.
    """
    check_values(cfg, first=str, second=str, split=str, output=str | None)
    check_whole_number("resamples", cfg.resamples, least=100)
    if cfg.output:
        check_file_place(Path(cfg.output))
    check_whole_number("seed", cfg.seed, least=0)
    confidence = cfg.confidence
    if not isinstance(confidence, float) or not 0.5 <= confidence < 1:
        raise ValueError(f"confidence must be a number from 0.5 to below 1; got {confidence}")
    models = [read_kept(Path(cfg[name]), cfg.split) for name in FOLDERS]
    reference = models[0].seeds[0]
    for model in models:
        for seed in model.seeds:
            check_same_examples(reference, seed)
    resampled = [[checked_metrics(seed) for seed in model.seeds] for model in models]
    first, second = ([function for _, function in model] for model in resampled)
    names = _shared([names for model in resampled for names, _ in model])
    if not names:
        raise ValueError(f"{cfg.first} and {cfg.second} have no metric in common")
    differences = paired_bootstrap(first, second, len(reference.lines), names, cfg.resamples, confidence, cfg.seed)
    _print(cfg, models, differences)
    if cfg.output:
        write_whole(Path(cfg.output), json.dumps(_content(cfg, differences), indent=2) + "\n")
    return differences


def _shared(names: Sequence[Sequence[str]]) -> list[str]:
    """Return what is in every list, in the order of the first."""
    return [name for name in names[0] if all(name in others for others in names)]


def _print(cfg: DictConfig, models: Sequence[KeptPredictions], differences: Mapping[str, Difference]) -> None:
    for letter, folder, model in zip("AB", (cfg.first, cfg.second), models, strict=True):
        print(f"{letter}: {folder}, {model.task}, number of seeds: {len(model.seeds)}")
    least_p = 1 - cfg.confidence
    columns = (cfg.split, "A", "B", "B - A", f"{100 * cfg.confidence:g}% interval", "p")
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, each in differences.items():
        values = (f"{each.first:.4f}", f"{each.second:.4f}", f"{each.value:+.4f}", f"{each.low:+.4f}, {each.high:+.4f}")
        table.add_row(name, *values, f"{each.p:.4f}" + (" *" if each.p < least_p else ""))
    Console(markup=False, emoji=False).print(table)
    has_seeds = any(len(model.seeds) > 1 for model in models)
    examples = number_of(len(models[0].seeds[0].lines), "example")
    print(f"{number_of(cfg.resamples, 'resample')} of {examples}{' and of the seeds' * has_seeds}")
    differing = [name for name, each in differences.items() if each.p < least_p]
    print(f"the models differ (*, p below {least_p:.3g}) in: {', '.join(differing) or 'nothing'}")
    if not has_seeds:
        print("with one seed each, these two models are compared, not two ways to train")


def _content(cfg: DictConfig, differences: Mapping[str, Difference]) -> dict[str, Any]:
    settings = {name: cfg[name] for name in (*FOLDERS, "split", "resamples", "confidence", "seed")}
    return settings | {
        "metrics": {name: asdict(each) | {"difference": each.value} for name, each in differences.items()}
    }


def named_folders(arguments: Sequence[str]) -> list[str]:
    """Return arguments of the command line in which the first two that are no settings are named.

    >>> named_folders(["outputs/a", "outputs/b", "split=test"])
    ['first=outputs/a', 'second=outputs/b', 'split=test']
    """
    names = iter(FOLDERS)
    named = []
    for argument in arguments:
        is_setting = argument.startswith("-") or ("=" in argument and not Path(argument).exists())
        name = None if is_setting else next(names, None)
        named.append(argument if name is None else f"{name}={argument}")
    return named


def main() -> None:
    """Run the command."""
    sys.argv[1:] = named_folders(sys.argv[1:])
    entry_point("compare", compare)()


if __name__ == "__main__":
    main()
