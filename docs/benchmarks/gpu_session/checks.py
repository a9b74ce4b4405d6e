"""Whether the step is right on this device: beside transformers, compiled beside eager, with dropout from a seed.

A gradient in bf16 has an error whoever computes it. So gradients are compared with those in fp32, and the error of ours
may be a few times the other's: `TO_EAGER` and `TO_TRANSFORMERS` times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from bert_lightning.benchmarks.contestants import Contestant, Ours, Setting, ours
from bert_lightning.benchmarks.model_batches import ExampleSource
from bert_lightning.benchmarks.transformers_berts import huggingface
from bert_lightning.checkpoints.huggingface import to_huggingface
from bert_lightning.execution.compilation import Compilation
from data_pipeline.streams.packed_batch import PackedBatch

NUM_EXAMPLES = 32
NUM_STEPS = 20
TO_EAGER = 1.25
TO_TRANSFORMERS = 4.0
"""Ours keeps the residual stream in bf16, transformers in fp32; 12 layers on a CPU came to 2.7 times."""
FP32_ERROR = 1e-4
LOSS_ERROR = 5e-3
EAGER = Compilation(scope=None)
Row = tuple[str, float, float]
Gradients = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked.

    Attributes:
        setting: The model without dropout, in bf16, compiled.
        batches: Micro-batches of one example mixture.
    """

    setting: Setting
    batches: list[PackedBatch]

    @staticmethod
    def of(cfg: DictConfig) -> "Subject":
        """Build the subject from a resolved config of bert-benchmark; micro-batches are made small."""
        setting: Setting = instantiate(cfg.part.setting)
        source: ExampleSource = instantiate(cfg.part.source)
        few = replace(source, micro_batch_size=min(NUM_EXAMPLES, source.micro_batch_size))
        return Subject(
            replace(setting, config=_without_dropout(setting.config), precision="bf16-mixed"), few.batches(4)
        )

    def build(self, **changes: Any) -> Ours:
        """Build ours with some facts of the setting changed; the first weights are always the same."""
        return ours(replace(self.setting, **changes))


def _without_dropout(config: Any, p: float = 0.0) -> Any:
    return replace(config, hidden_dropout_prob=p, attention_probs_dropout_prob=p)


def gradients(contestant: Contestant, batch: PackedBatch) -> tuple[float, dict[str, Tensor]]:
    """Return loss and gradients of a batch, the gradients by transformers' names, in fp32 on the host."""
    contestant.optimizer.zero_grad(set_to_none=True)
    loss = contestant.precise_loss(contestant.prepare(batch))
    loss.backward()
    found = {name: tensor.grad.float().cpu() for name, tensor in contestant.model.named_parameters()}
    contestant.optimizer.zero_grad(set_to_none=True)
    if isinstance(contestant, Ours):
        found = to_huggingface(found, contestant.model.main_encoder().config)
    return loss.item(), found


def distance(found: Gradients, expected: Gradients) -> float:
    """Return the norm of the difference, relative to the norm expected, over all tensors together."""
    names = [name for name in expected if name in found]
    if not names:
        raise ValueError("the two models have no parameter in common")
    difference = torch.stack([(found[name] - expected[name]).double().norm() for name in names]).norm()
    return float(difference / torch.stack([expected[name].double().norm() for name in names]).norm())


def parity(subject: Subject) -> list[Row]:
    """Check loss and gradients of packed rows beside transformers' on padded rows, then dropout.

    Returns:
        What was checked, what was found, and the most that is right.
    """
    batch = subject.batches[0]
    precise = subject.build(precision="32-true", compilation=EAGER)
    state = {name: tensor.detach().cpu().clone() for name, tensor in precise.model.state_dict().items()}
    theirs = {
        precision: gradients(huggingface(replace(subject.setting, precision=precision), state, False, False), batch)
        for precision in ("32-true", "bf16-mixed")
    }
    loss, expected = theirs["32-true"]
    own_loss, own = gradients(precise, batch)
    rows: list[Row] = [
        ("fp32: loss, packed beside padded rows", abs(own_loss / loss - 1), FP32_ERROR),
        ("fp32: gradients, packed beside padded rows", distance(own, expected), FP32_ERROR),
    ]
    allowed = TO_TRANSFORMERS * distance(theirs["bf16-mixed"][1], expected)
    for name, compilation in (("eager", EAGER), ("compiled", subject.setting.compilation)):
        own_loss, own = gradients(subject.build(compilation=compilation), batch)
        rows.append((f"bf16, {name}: loss", abs(own_loss / loss - 1), LOSS_ERROR))
        rows.append((f"bf16, {name}: gradients, transformers' error allowed", distance(own, expected), allowed))
    return [*rows, *dropout(subject)]


def dropout(subject: Subject) -> list[Row]:
    """Check that a seed decides dropout, in the compiled step, and that it leaves the loss about what it was."""
    with_dropout = subject.build(config=_without_dropout(subject.setting.config, 0.1))
    plain = subject.build()
    inputs = with_dropout.prepare(subject.batches[0])
    expected = plain.precise_loss(inputs).item()
    losses = []
    for seed in (0, 0, 1, 2, 3, 4):
        torch.manual_seed(seed)
        losses.append(with_dropout.precise_loss(inputs).item())
    same, *others = losses[1:]
    return [
        ("dropout: difference of two losses from one seed", abs(same - losses[0]), 0.0),
        ("dropout: losses equal though seeds differ", float(len(others) - len({*others} - {same})), 0.0),
        ("dropout: mean loss beside the loss without", abs(sum(others) / len(others) / expected - 1), 0.05),
    ]


def gradient_equality(subject: Subject) -> list[Row]:
    """Check compiled gradients beside eager ones at the first weights, and at those that 20 compiled steps lead to.

    Returns:
        What was checked, what was found, and the most that is right.
    """
    compiled = subject.build()
    eager = {
        precision: subject.build(precision=precision, compilation=EAGER) for precision in ("32-true", "bf16-mixed")
    }
    rows = _beside_eager("before", compiled, eager, subject.batches)
    for step in range(NUM_STEPS):
        compiled.step(compiled.prepare(subject.batches[step % len(subject.batches)]))
    for model in eager.values():
        model.model.load_state_dict(compiled.model.state_dict())
    return [*rows, *_beside_eager(f"after {NUM_STEPS} steps", compiled, eager, subject.batches)]


def _beside_eager(when: str, compiled: Ours, eager: Mapping[str, Ours], batches: Sequence[PackedBatch]) -> list[Row]:
    rows: list[Row] = []
    worst: dict[str, list[float]] = {"loss": [], "compiled": [], "eager": []}
    for batch in batches:
        loss, expected = gradients(eager["32-true"], batch)
        own_loss, own = gradients(compiled, batch)
        worst["loss"].append(abs(own_loss / loss - 1))
        worst["compiled"].append(distance(own, expected))
        worst["eager"].append(distance(gradients(eager["bf16-mixed"], batch)[1], expected))
    rows.append((f"{when}: loss, compiled bf16 beside eager fp32", max(worst["loss"]), LOSS_ERROR))
    allowed = TO_EAGER * max(worst["eager"])
    rows.append((f"{when}: gradients, error of eager bf16 allowed", max(worst["compiled"]), allowed))
    return rows
