"""Relatives of BERT in transformers, both ways: weights, losses, gradients, and folders."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import (
    architecture,
    from_config_json,
    from_huggingface,
    read_folder,
    to_config_json,
    write_folder,
)
from bert_lightning.checkpoints.huggingface.albert import ALBERT
from bert_lightning.checkpoints.huggingface.families import FAMILIES, Family
from bert_lightning.checkpoints.task_head import TaskHead
from bert_lightning.checkpoints.tensor_checks import HEADS
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.mlm import MaskedLM
from bert_lightning.objectives.mlm_nsp import MaskedLMWithNSP
from bert_lightning.objectives.mlm_sop import MaskedLMWithSOP
from bert_lightning.objectives.objective import Objective
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.models import MODERN
from tests.support.parity import (
    CONFIG,
    assert_rounds_as_well,
    bf16_errors,
    packed_examples,
    padded,
    random_weights,
)

SIZES = {"vocab_size": 101, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@dataclass(frozen=True)
class Relative:
    """A class of transformers, the sizes of a tiny model of it, and what it is here."""

    kind: str
    config: EncoderConfig
    objective: Callable[[EncoderConfig], Objective] = MaskedLM
    settings: dict[str, Any] = field(default_factory=dict)

    def family(self) -> Family:
        return next(family for family in FAMILIES if self.kind.lower().startswith(family.model_type))

    def theirs(self) -> PreTrainedModel:
        kind = getattr(transformers, self.kind)
        settings = {**SIZES, "num_hidden_layers": 3, "max_position_embeddings": 40, **NO_DROPOUT, **self.settings}
        return random_weights(kind(kind.config_class(**settings, attn_implementation="sdpa")))


ROBERTA = Relative(
    "RobertaForMaskedLM",
    replace(CONFIG, position_offset=2, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5),
    settings={"max_position_embeddings": 42, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
)
RELATIVES = [
    ROBERTA,
    Relative(
        "AlbertForPreTraining",
        replace(
            CONFIG,
            embedding_size=16,
            num_hidden_layers=5,
            shared_parameters="all",
            num_hidden_groups=2,
            hidden_act="gelu_new",
        ),
        MaskedLMWithSOP,
        {"embedding_size": 16, "num_hidden_layers": 5, "num_hidden_groups": 2, "classifier_dropout_prob": 0.0},
    ),
    Relative(
        "AlbertForMaskedLM",
        replace(CONFIG, embedding_size=16, shared_parameters="all", hidden_act="gelu_new"),
        settings={"embedding_size": 16},
    ),
    Relative(
        "DistilBertForMaskedLM",
        replace(CONFIG, type_vocab_size=0),
        settings={"hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0},
    ),
    Relative("ElectraForMaskedLM", replace(CONFIG, embedding_size=16), settings={"embedding_size": 16}),
    Relative("ElectraForMaskedLM", CONFIG, settings={"embedding_size": 32}),
    Relative(
        "ModernBertForMaskedLM",
        replace(CONFIG, **MODERN, num_hidden_layers=5, global_attn_every_n_layers=2),
        settings={"local_attention": 8, "global_attn_every_n_layers": 2, "num_hidden_layers": 5, "pad_token_id": 0},
    ),
]
each_relative = pytest.mark.parametrize("relative", RELATIVES, ids=lambda relative: relative.kind)


def inputs(config: EncoderConfig, batch: PackedBatch) -> dict[str, Tensor]:
    rows = padded(batch)
    ids = rows.input_ids.masked_fill(rows.attention_mask == 0, config.pad_token_id)
    given = {"input_ids": ids, "attention_mask": rows.attention_mask}
    if config.type_vocab_size:
        given["token_type_ids"] = rows.token_type_ids.clamp(max=config.type_vocab_size - 1)
    return given


def both(relative: Relative, folder: Path) -> tuple[PreTrainedModel, Objective]:
    """The class with random weights, and ours with the same."""
    model = relative.theirs()
    model.save_pretrained(folder)
    pretrained = load_pretrained(folder)
    assert pretrained.config == relative.config
    ours = relative.objective(pretrained.config)
    ours.load_state_dict(pretrained.state, strict=True)
    return model, ours


def batch_of_pairs() -> PackedBatch:
    """Examples whose pair labels any objective reads."""
    batch = packed_examples()
    batch.targets["sop"] = batch.targets["nsp"]
    return batch


def states_and_loss(relative: Relative, model: PreTrainedModel, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Hidden states of the real tokens, (tokens, hidden), and the loss of a class."""
    rows, pairs = padded(batch), {MaskedLMWithSOP: "sentence_order_label", MaskedLMWithNSP: "next_sentence_label"}
    wanted = {pairs[each]: rows.next_sentence_label for each in pairs if relative.objective is each}
    found = model(**inputs(relative.config, batch), labels=rows.labels, output_hidden_states=True, **wanted)
    return found.hidden_states[-1][rows.attention_mask.bool()], found.loss


def our_states_and_loss(ours: Objective, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """The same of ours."""
    sums, counts = ours(batch), ours.counts(batch)
    loss = sum(sums[name] / counts[name] for name, each in ours.quantities.items() if each.loss_weight)
    return ours.main_encoder()(batch.tokens)[: batch.num_tokens], torch.as_tensor(loss)


@each_relative
def test_losses_and_gradients_are_those_of_the_class(relative: Relative, tmp_path: Path) -> None:
    (model, ours), batch = both(relative, tmp_path), batch_of_pairs()
    expected_hidden, expected_loss = states_and_loss(relative, model, batch)
    hidden, loss = our_states_and_loss(ours, batch)
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden, expected_hidden, atol=1e-5, rtol=0)

    expected_loss.backward()
    loss.backward()
    given = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    expected = from_huggingface(given, relative.config, HEADS, family=relative.family())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    "relative",
    [Relative("BertForPreTraining", CONFIG, MaskedLMWithNSP), *RELATIVES],
    ids=lambda relative: relative.kind,
)
def test_bf16_rounds_as_well_as_the_class(relative: Relative, tmp_path: Path) -> None:
    (model, ours), batch = both(relative, tmp_path), batch_of_pairs()
    found = bf16_errors(ours, lambda: our_states_and_loss(ours, batch))
    assert_rounds_as_well(found, bf16_errors(model, lambda: states_and_loss(relative, model, batch)))


@each_relative
def test_every_bit_comes_back(relative: Relative, tmp_path: Path, tokenizer: Tokenizer) -> None:
    """From transformers and back to it, and from a model of ours and back to it."""
    model = relative.theirs()
    model.save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", pretrained.config, pretrained.state, {})
    # A model whose embeddings are as wide as its layers, without ELECTRA's own head, is a BERT.
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [
        "BertForMaskedLM" if relative.config == CONFIG else relative.kind
    ]
    if relative.config != CONFIG:
        again, info = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        tensors = again.state_dict()
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    back = load_pretrained(tmp_path / "ours")
    assert back.config == pretrained.config
    assert set(back.state) == set(pretrained.state)
    assert all(torch.equal(back.state[name], tensor) for name, tensor in pretrained.state.items())


@pytest.mark.parametrize("kind", ["GPT2Config", "OpenAIGPTConfig", "DistilBertConfig"])
def test_sizes_may_have_the_names_that_transformers_takes_too(kind: str) -> None:
    sizes = {"hidden_size": 96, "num_attention_heads": 16, "num_hidden_layers": 3, "max_position_embeddings": 40}
    content = {"model_type": getattr(transformers, kind).model_type, "vocab_size": 101, **sizes}
    theirs, ours = getattr(transformers, kind).from_dict(content), from_config_json(content)
    assert {name: getattr(theirs, name) for name in sizes} == {name: getattr(ours, name) for name in sizes} == sizes


def test_a_local_base_of_null_is_the_global_one() -> None:
    """So has version 4 of transformers; a base that is absent is 10,000."""
    content = {"model_type": "modernbert", "global_rope_theta": 77.0}
    bases = {"absent": content, "null": content | {"local_rope_theta": None}}
    read = {name: from_config_json(each) for name, each in bases.items()}
    assert (read["absent"].local_rope_theta, read["null"].local_rope_theta) == (10_000.0, 77.0)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"type_vocab_size": 0}, "DistilBertForMaskedLM"),
        ({"type_vocab_size": 0, "layer_norm_eps": 1e-5}, "RobertaForMaskedLM"),
        ({"type_vocab_size": 0, "position_offset": 2}, "RobertaForMaskedLM"),
        ({"position_offset": 7, "type_vocab_size": 2, "pad_token_id": 1}, "RobertaForMaskedLM"),
        ({**MODERN, "local_attention": None, "local_rope_theta": None}, "ModernBertForMaskedLM"),
        ({**MODERN, "local_rope_theta": None, "rope_theta": 77.0}, "ModernBertForMaskedLM"),
        ({"embedding_size": 48}, "ElectraForMaskedLM"),
    ],
    ids=str,
)
def test_what_a_class_has_in_other_words_scores_the_same(tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    """Rows of positions are moved, segments of zeros added: the scores stay."""
    config = replace(CONFIG, **change)
    ours, batch = random_weights(MaskedLM(config)), packed_examples()
    write_folder(tmp_path, config, ours.state_dict(), {})
    assert architecture(config, ours.state_dict()) == kind
    theirs = getattr(transformers, kind).from_pretrained(tmp_path).eval()
    rows = padded(batch)
    logits = theirs(**inputs(config, batch)).logits[rows.attention_mask.bool()]
    hidden = ours.encoder(batch.tokens)
    scores = ours.mlm_head.scores(hidden, ours.encoder.embeddings.token.weight)[: batch.num_tokens, :101]
    torch.testing.assert_close(scores, logits, atol=2e-5, rtol=0)
    again = load_pretrained(tmp_path)
    encoder = Encoder(again.config).eval()
    encoder.load_state_dict(again.state_of("encoder"))
    assert torch.equal(encoder(batch.tokens), hidden)
    assert again.config.type_vocab_size == config.type_vocab_size


@pytest.mark.parametrize("type_vocab_size", [0, 1, 2])
def test_a_tokenizer_makes_segments_only_for_models_that_have_them(
    type_vocab_size: int, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = replace(CONFIG, vocab_size=tokenizer.get_vocab_size(), type_vocab_size=type_vocab_size)
    ours = random_weights(MaskedLM(config))
    write_folder(tmp_path, config, ours.state_dict(), tokenizer_files(tokenizer))
    given = transformers.AutoTokenizer.from_pretrained(tmp_path)("the king runs", "the queen", return_tensors="pt")
    assert ("token_type_ids" in given) == (type_vocab_size == 2)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    assert theirs(**given).logits.shape[-1] == config.vocab_size


TASKS = [
    TaskHead("sequence_classification", ["a", "b", "c"], "single_label_classification"),
    TaskHead("token_classification", ["a", "b", "c"]),
    TaskHead("multiple_choice"),
    TaskHead("question_answering"),
]


POOLED = {"DistilBertForMaskedLM": "Roberta", "ElectraForMaskedLM": "Albert"}
"""What a model with a head for whole texts is written as if its family has another one."""


@pytest.mark.parametrize("relative", [RELATIVES[each] for each in (0, 1, 3, 4)], ids=lambda each: each.kind)
@pytest.mark.parametrize("head", TASKS, ids=lambda head: head.kind)
def test_heads_of_tasks_go_both_ways(relative: Relative, head: TaskHead, tmp_path: Path) -> None:
    config = relative.config
    state = random_weights(Encoder(config)).state_dict()
    state = {f"encoder.{name}": tensor for name, tensor in state.items()}
    state["encoder.embeddings.token.weight"][config.vocab_size :] = 0
    torch.manual_seed(1)
    state |= {name: torch.randn(shape) * 0.2 for name, shape in head.shapes(config).items()}
    state = {name: tensor for name, tensor in state.items() if not name.startswith("answerability")}
    write_folder(tmp_path, config, state, {}, head)
    kind = architecture(config, state, head)
    theirs, info = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    back = load_pretrained(tmp_path)
    assert back.head == head
    # RoBERTa's classes have rows of positions before those that are read.
    assert {name for name in state if not torch.equal(back.state[name][-len(state[name]) :], state[name])} == set()
    is_pooled = "pooler.dense.weight" in state
    assert kind.startswith(POOLED.get(relative.kind, relative.kind[:5]) if is_pooled else relative.kind[:5])

    batch = packed_examples()
    given, mask = inputs(config, batch), padded(batch).attention_mask.bool()
    with torch.no_grad():
        encoder = Encoder(back.config).eval()
        encoder.load_state_dict(back.state_of("encoder"))
        read = encoder(batch.tokens)[: batch.num_tokens]
        if is_pooled:
            read = read[batch.tokens.cu_seqlens[: batch.num_examples]]
            read = torch.tanh(read @ state["pooler.dense.weight"].T + state["pooler.dense.bias"])
        last = "qa_outputs" if "qa_outputs.weight" in state else "classifier"
        expected = read @ state[f"{last}.weight"].T + state[f"{last}.bias"]
        if head.kind == "multiple_choice":
            found = theirs.eval()(**{name: each.view(2, 3, -1) for name, each in given.items()}).logits.reshape(-1, 1)
        elif head.kind == "question_answering":
            out = theirs.eval()(**given)
            found = torch.stack([out.start_logits, out.end_logits], -1)[mask]
        else:
            found = theirs.eval()(**given).logits
            found = found[mask] if found.dim() == 3 else found
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_pair_heads_stay_what_they_are() -> None:
    """The labels of sentence order are never written as those of next sentences, nor the other way about."""
    albert = RELATIVES[1].config
    as_nsp = MaskedLMWithNSP(albert).state_dict()
    assert architecture(albert, as_nsp) == "AlbertForMaskedLM"
    as_sop = MaskedLMWithSOP(CONFIG).state_dict()
    assert architecture(CONFIG, as_sop) == "BertForMaskedLM"


@pytest.mark.parametrize("relative", [ROBERTA, RELATIVES[4]], ids=lambda relative: relative.kind)
@pytest.mark.parametrize("act", ["relu", "gelu_new"])
def test_a_head_that_has_gelu_whatever_the_layers_have_is_left_out(
    relative: Relative, act: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its scores would be others; the encoder is whole, and begins a fine-tuning."""
    other = replace(relative, settings={**relative.settings, "hidden_act": act})
    model = other.theirs()
    model.save_pretrained(tmp_path)
    pretrained = load_pretrained(tmp_path)
    assert not pretrained.state_of("mlm_head")
    said = f"hidden_act={act}, but {relative.family().title}'s head for masked tokens has gelu, which this one cannot"
    assert said in caplog.text
    with pytest.raises(ValueError, match=said):
        read_folder(tmp_path, optional=[each for each in HEADS if each != "mlm_head"])
    encoder, batch = Encoder(pretrained.config).eval(), packed_examples()
    encoder.load_state_dict(pretrained.state_of("encoder"))
    expected = model.base_model(**inputs(relative.config, batch)).last_hidden_state
    found = encoder(batch.tokens)[: batch.num_tokens]
    torch.testing.assert_close(found, expected[padded(batch).attention_mask.bool()], atol=1e-5, rtol=0)


@pytest.mark.parametrize("relative", [ROBERTA, RELATIVES[4]], ids=lambda relative: relative.kind)
def test_a_named_family_is_asked_as_one_that_is_found(relative: Relative, tmp_path: Path) -> None:
    """A model whose scores its class would change is refused before anything is written."""
    config = replace(relative.config, hidden_act="relu")
    with pytest.raises(ValueError, match=r"model.hidden_act=relu, which \w+'s classes in transformers do not have"):
        write_folder(tmp_path, config, MaskedLM(config).state_dict(), {}, family=relative.family())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("relative", "change", "said"),
    [
        (RELATIVES[0], {"hidden_act": "relu"}, "model.position_offset=2, which BERT's classes"),
        (RELATIVES[4], {"hidden_act": "relu", "is_causal": True}, "model.is_causal=True, which ALBERT's classes"),
        (RELATIVES[1], {"embedding_size": None}, "model.embedding_size=None, which ALBERT's classes"),
        (RELATIVES[6], {"use_bias": True}, "model.use_bias=True, which ModernBERT's classes"),
        (RELATIVES[6], {"is_causal": True}, "model.is_causal=True, which ModernBERT's classes"),
    ],
    ids=lambda value: value.kind if isinstance(value, Relative) else "",
)
def test_models_that_no_class_holds_are_refused(relative: Relative, change: dict[str, Any], said: str) -> None:
    config = replace(relative.config, **change)
    with pytest.raises(ValueError, match=said):
        to_config_json(config, ["mlm_head.bias"])


@pytest.mark.parametrize(
    ("relative", "change", "said"),
    [
        (ROBERTA, {"max_position_embeddings": 2}, "leaves no position after the 2 rows that pad_token_id=1 keeps"),
        (ROBERTA, {"position_embedding_type": "relative_key"}, "'relative_key'; only 'absolute' can be read"),
        (RELATIVES[1], {"inner_group_num": 2}, "inner_group_num=2; only 1 can be read"),
        (RELATIVES[1], {"embedding_size": 32}, "embedding_size=32, which is hidden_size"),
        (RELATIVES[6], {"norm_bias": True}, "norm_bias=True; only False can be read"),
        (RELATIVES[6], {"norm_eps": "x"}, "has norm_eps='x', which must be a finite number"),
        (RELATIVES[6], {"classifier_activation": "relu"}, "classifier_activation='relu' and hidden_activation='gelu'"),
        (
            RELATIVES[6],
            {"layer_types": ["full_attention", "full_attention", "sliding_attention", "full_attention"]},
            "layer_types that are not at equal distances",
        ),
        (RELATIVES[6], {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type='yarn'"),
        (RELATIVES[6], {"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_scaling of the type 'linear'"),
        (
            RELATIVES[6],
            {"sliding_window": 8},
            "sliding_window=8, .* and local_attention=8, which must be twice as much",
        ),
        (RELATIVES[3], {"num_attention_heads": 8}, "n_heads=4 and num_attention_heads=8, two names of one size"),
        (RELATIVES[4], {"architectures": ["ElectraForSequenceClassification"]}, "ElectraForSequenceClassification,"),
    ],
    ids=lambda value: value.kind if isinstance(value, Relative) else "",
)
def test_folders_that_cannot_be_read_are_one_line(
    relative: Relative, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    relative.theirs().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=said) as error:
        load_pretrained(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("groups", [2, 5])
def test_an_albert_with_a_group_for_each_layer_shares_none(groups: int, tmp_path: Path) -> None:
    sizes = replace(CONFIG, embedding_size=16, num_hidden_layers=5, shared_parameters="all", num_hidden_groups=groups)
    plain = replace(sizes, shared_parameters="none", num_hidden_groups=1)
    config = plain if groups == 5 else sizes
    write_folder(tmp_path, config, random_weights(MaskedLM(config)).state_dict(), {}, family=ALBERT)
    assert load_pretrained(tmp_path).config.differences(config) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model_type": "gpt2", "embd_pdrop": 0.2}, "resid_pdrop=0.1 and embd_pdrop=0.2; both are 0.1 here"),
        ({"model_type": "modernbert", "mlp_dropout": 0.1}, "embedding_dropout=0.0 and mlp_dropout=0.1; both are 0.0"),
        ({"model_type": "gpt2", "embd_pdrop": 0.1}, ""),
        ({"model_type": "gpt2", "embd_pdrop": 0.3, "resid_pdrop": 0.3}, ""),
    ],
)
def test_a_dropout_that_there_is_not_is_said(
    content: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    from_config_json(content)
    assert said in caplog.text
    assert bool(caplog.messages) == bool(said)
