"""The model card of an export: README.md, as model hubs show it: data, sizes, recipe, figures, limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bert_lightning.checkpoints.known_sources import licence_of
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import checked, entry
from data_pipeline.whole_numbers import number_of

CARD = "README.md"
_RECIPE = {
    "objective._target_": "objective",
    "pairs._target_": "pairs",
    "masking._target_": "masks",
    "masking.mask_prob": "share of tokens to predict",
    "task.name": "task",
    "trainer.max_steps": "steps",
    "data.global_batch_size": "examples of a step",
    "data.seq_len": "most tokens of an example",
    "optimizer._target_": "optimizer",
    "optimizer.lr": "peak learning rate",
    "optimizer.weight_decay": "weight decay",
    "schedule._target_": "schedule",
    "schedule.warmup_steps": "warm-up, steps or share",
    "gradient_clip_val": "largest norm of the gradients",
    "trainer.precision": "precision",
    "seed": "seed",
    "init_from": "weights begun with",
}
"""Settings that a card names, and their names there."""
_SHOWN_PHASE = ("steps", "share", "seq_len", "global_batch_size", "mask_prob")


@dataclass(frozen=True, slots=True)
class Training:
    """What is known of how a model was trained; all of it may be absent.

    Attributes:
        settings: The resolved config of the run.
        corpus: The corpus, as `corpus_facts` gives it.
        held_out: Figures on held-out text, by name.
        scores: Content of the scores.json of a fine-tuning.
        folds_case: Whether the tokenizer folds case; None if that is not known.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    corpus: Mapping[str, Any] = field(default_factory=dict)
    held_out: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Any] | None = None
    folds_case: bool | None = None


def model_card(config: EncoderConfig, architecture: str, head: TaskHead | None, training: Training) -> str:
    """Return the text of a model card.

    Args:
        config: The encoder's sizes.
        architecture: Class of transformers that loads the model.
        head: The head of a fine-tuned model, None for a pre-trained one.
        training: How the model was trained.

    Raises:
        ValueError: if the scores are not those of a fine-tuning, or the facts of the corpus not those of one.
    """
    parts = [
        "---\nlibrary_name: transformers\ntags:\n- bert\n---",
        f"# {architecture}",
        f"A BERT encoder, exported by bert-lightning: {number_of(config.num_hidden_layers, 'layer')}, "
        f"{config.hidden_size} dimensions, {number_of(config.num_attention_heads, 'head')}, a vocabulary of "
        f"{config.vocab_size:,} tokens, sequences of up to {config.max_position_embeddings} tokens.",
        f"transformers' `{architecture}.from_pretrained` and `AutoTokenizer.from_pretrained` load it.",
    ]
    if head is not None and head.labels:
        parts.append("Labels: " + ", ".join(f"`{printable(label)}`" for label in head.labels))
    if training.corpus:
        parts += ["## Data", _data(training.corpus)]
    if recipe := _recipe(training.settings):
        parts += ["## Recipe", _table(("setting", "value"), recipe)]
    if training.held_out:
        rows = [(name, f"{value:.4f}") for name, value in training.held_out.items()]
        parts += ["## On held-out text", _table(("quantity", "value"), rows)]
    if training.scores is not None:
        parts += ["## Scores", _scores(training.scores)]
    parts += ["## Limits", "\n".join(f"- {line}" for line in _limits(config, training))]
    return "\n\n".join(parts) + "\n"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *([printable(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _data(corpus: Mapping[str, Any]) -> str:
    """Return the sources of the training text with their licenses, and how much text there was."""
    where = "the checkpoint"
    rows = []
    for number, source in enumerate(checked(corpus.get("sources", []), list[dict[str, object]], where, "sources")):
        name, origin, licence = (
            checked(entry(source, key, where=where), str, where, f"sources[{number}].{key}")
            for key in ("name", "origin", "licence")
        )
        documents = checked(entry(source, "documents", where=where), int, where, f"sources[{number}].documents")
        rows.append((name, origin, licence_of(name, origin, licence), f"{documents:,}"))
    splits = checked(corpus.get("tokens", {}), dict[str, int], where, "tokens")
    sizes = "; ".join(f"{printable(split)}: {tokens:,} tokens" for split, tokens in splits.items() if tokens)
    return _table(("source", "origin", "license", "documents"), rows) + (f"\n\n{sizes}." if sizes else "")


def _recipe(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings that a card names, with their values; those that a run does not have are left out."""
    rows = [
        (name, _word(_at(settings, key))) for key, name in _RECIPE.items() if _at(settings, key) not in (None, "auto")
    ]
    phases = settings.get("phases")
    for number, phase in enumerate(phases if isinstance(phases, list) else [], 1):
        if isinstance(phase, Mapping):
            values = (f"{name}={phase[name]}" for name in _SHOWN_PHASE if phase.get(name) is not None)
            rows.append((f"phase {number}", ", ".join(values)))
    return rows if len(rows) > 1 else []  # a seed alone is no recipe


def _at(settings: Mapping[str, Any], path: str) -> Any:
    found: Any = settings
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _word(value: object) -> str:
    """Return a value in a word; a `_target_` by the name of its class or function."""
    text = str(value)
    return text.rpartition(".")[2] if isinstance(value, str) and "/" not in text and text.count(".") > 1 else text


def _limits(config: EncoderConfig, training: Training) -> list[str]:
    """Return what a reader should not expect of the model."""
    lines = [f"Texts above {config.max_position_embeddings} tokens have to be cut."]
    longest = _at(training.settings, "data.seq_len")
    if isinstance(longest, int) and longest < config.max_position_embeddings:
        lines.append(f"It was trained on at most {longest} tokens: later positions hold what they held before.")
    if training.folds_case:
        lines.append("Its tokenizer folds case, so it does not tell names from words by their case.")
    unknown = training.corpus.get("unknown_share")
    if isinstance(unknown, float):
        lines.append(f"{unknown:.2%} of the tokens of its corpus are unknown to its vocabulary.")
    return [*lines, "It repeats what its text says, with its errors and prejudices; nothing was done against them."]


def _scores(scores: Mapping[str, Any]) -> str:
    """Return mean, standard deviation, and numbers of seeds and examples of every metric."""
    where = "scores.json"
    metrics = checked(entry(scores, "metrics", where=where), dict[str, dict[str, object]], where, "metrics")
    task = checked(entry(scores, "task", where=where), str, where, "task")
    rows = []
    for name, each in metrics.items():
        mean = checked(entry(each, "mean", where=where), float, where, f"{name}.mean")
        spread = checked(each.get("standard_deviation"), float | None, where, f"{name}.standard_deviation")
        values = checked(entry(each, "values", where=where), dict[str, object], where, f"{name}.values")
        examples = checked(entry(each, "examples", where=where), int, where, f"{name}.examples")
        shown = "-" if spread is None else f"{spread:.4f}"
        rows.append((name, f"{mean:.4f}", shown, str(len(values)), f"{examples:,}"))
    table = _table(("metric", "mean", "standard deviation", "seeds", "examples"), rows)
    return f"Task: {printable(task)}. This is the model of the best seed.\n\n{table}"
