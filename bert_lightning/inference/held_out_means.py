"""Held-out losses of any checkpoint on any prepared folder: what a run's validation measures, without the run."""

import torch

from bert_lightning.inference.loading import LoadedModel
from bert_lightning.metrics.metric_sums import MetricSums
from bert_lightning.objectives.causal_lm import CausalLM
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Objective
from bert_lightning.settings.progress_bars import counted
from data_pipeline.streams.samples import PretrainingSamples
from data_pipeline.streams.validation_stream import ValidationStream
from data_pipeline.tokenizers.tokenizer import load_tokenizer

WITH_PAIRS = {"nsp": MaskedLMWithNSP, "sop": MaskedLMWithSOP}
"""Objectives by the pair labels that they read."""


def trained_pairs(model: LoadedModel) -> list[str]:
    """Return the pair labels that a model has a trained head for."""
    return [target for target in WITH_PAIRS if model.pretrained.state_of(f"{target}_head.classifier")]


def held_out_means(
    model: LoadedModel,
    samples: PretrainingSamples,
    micro_batch_size: int,
    max_samples: int | None = None,
    num_workers: int = 0,
) -> dict[str, float]:
    """Return the means over a split, by the names of a run's validation, and the number of examples.

    The loss of masked tokens is per token and per byte of text; perplexity is exp of the loss per token. Pair loss and
    accuracy are there if the examples are pairs that the model has a head for. Of a causal model it is the loss of the
    next token, of all tokens of the same examples without their masks.

    Args:
        model: The model.
        samples: The split, not shuffled.
        micro_batch_size: Examples of one forward pass.
        max_samples: Examples to stop after; None for the whole split.
        num_workers: Loader processes.

    Raises:
        ValueError: if the model has no MLM head and is not causal, or has another vocabulary than the prepared folder.
    """
    if model.tokenizer.get_vocab() != load_tokenizer(samples.folder.tokenizer_dir).get_vocab():
        raise ValueError(f"checkpoint={model.name} has another vocabulary than the prepared folder {samples.folder}")
    objective = _objective(model, samples)
    stream = ValidationStream(samples, micro_batch_size, num_workers=num_workers, max_samples=max_samples)
    sums = MetricSums(objective.quantities, model.device)
    with torch.inference_mode():
        for batches in counted(stream, "held-out", len(stream)):
            for batch in (each.to(model.device) for each in batches):
                counts = torch.tensor(list(objective.counts(batch).values()), device=model.device)
                sums.add(objective(batch), counts)
    return {**sums.means(), "examples": stream.num_samples}


def _objective(model: LoadedModel, samples: PretrainingSamples) -> Objective:
    """Return the objective that reads the labels of the examples for which the model has heads, around its encoder."""
    if model.config.is_causal:
        causal = CausalLM(model.config)
        causal.encoder, causal.causal_head = model.encoder, model.next_token_head("the loss of the next token")
        return causal.eval().to(model.device)
    mlm_head = model.mlm_head("the loss of masked tokens")
    targets = [target for target in trained_pairs(model) if target in samples.target_names]
    objective = (WITH_PAIRS[targets[0]] if targets else MaskedLM)(model.config)
    objective.encoder, objective.mlm_head = model.encoder, mlm_head
    for target in targets:
        getattr(objective, f"{target}_head").load_state_dict(model.pretrained.state_of(f"{target}_head"))
    return objective.eval().to(model.device)
