"""The model card of an export: README.md, as model hubs show it, with the labels and the scores of a fine-tuning."""

from collections.abc import Mapping
from typing import Any

from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.models.encoder import EncoderConfig
from data_pipeline.untrusted.escaping import printable
from data_pipeline.untrusted.typed_fields import checked, entry

CARD = "README.md"


def model_card(
    config: EncoderConfig, architecture: str, head: TaskHead | None, scores: Mapping[str, Any] | None
) -> str:
    """Return the text of a model card.

    Args:
        config: The encoder's sizes.
        architecture: Class of transformers that loads the model.
        head: The head of a fine-tuned model, None for a pre-trained one.
        scores: Content of the scores.json of the fine-tuning, None if there is none.

    Raises:
        ValueError: if the scores are not those of a fine-tuning.
    """
    parts = [
        "---\nlibrary_name: transformers\ntags:\n- bert\n---",
        f"# {architecture}",
        f"A BERT encoder, exported by bert-lightning: {config.num_hidden_layers} layers, {config.hidden_size} "
        f"dimensions, {config.num_attention_heads} heads, a vocabulary of {config.vocab_size:,} tokens, sequences of "
        f"up to {config.max_position_embeddings} tokens.",
        f"transformers' `{architecture}.from_pretrained` and `AutoTokenizer.from_pretrained` load it.",
    ]
    if head is not None and head.labels:
        parts.append("Labels: " + ", ".join(f"`{printable(label)}`" for label in head.labels))
    if scores is not None:
        parts += ["## Scores", _table(scores)]
    return "\n\n".join(parts) + "\n"


def _table(scores: Mapping[str, Any]) -> str:
    """Return mean, standard deviation, and numbers of seeds and examples of every metric."""
    where = "scores.json"
    metrics = checked(entry(scores, "metrics", where=where), dict[str, dict[str, object]], where, "metrics")
    task = checked(entry(scores, "task", where=where), str, where, "task")
    lines = ["| metric | mean | standard deviation | seeds | examples |", "|---|---|---|---|---|"]
    for name, each in metrics.items():
        mean = checked(entry(each, "mean", where=where), float, where, f"{name}.mean")
        spread = checked(each.get("standard_deviation"), float | None, where, f"{name}.standard_deviation")
        values = checked(entry(each, "values", where=where), dict[str, object], where, f"{name}.values")
        examples = checked(entry(each, "examples", where=where), int, where, f"{name}.examples")
        shown = "-" if spread is None else f"{spread:.4f}"
        lines.append(f"| {printable(name)} | {mean:.4f} | {shown} | {len(values)} | {examples:,} |")
    return f"Task: {printable(task)}. This is the model of the best seed.\n\n" + "\n".join(lines)
