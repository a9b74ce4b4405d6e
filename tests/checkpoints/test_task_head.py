"""Heads of fine-tuned models: the classes of transformers both ways, with labels by name, and what is refused."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import linear
from transformers import BertConfig, PreTrainedModel

from bert_lightning.checkpoints.checkpoint import Pretrained, checkpoint_payload, load_pretrained
from bert_lightning.checkpoints.huggingface import BERT, architecture, from_huggingface, to_huggingface, write_folder
from bert_lightning.checkpoints.task_head import KINDS, TaskHead
from bert_lightning.models.encoder import Encoder
from bert_lightning.models.encoder_config import EncoderConfig
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkpoints import assert_same, config_for
from tests.support.parity import CONFIG, packed_examples, padded, reference_model

LABELS = ["negativ", "Größe", "3 stars"]
HEADS = [
    TaskHead("sequence_classification", LABELS, "single_label_classification"),
    TaskHead("sequence_classification", LABELS, "multi_label_classification"),
    TaskHead("sequence_classification", ["similarity"], "regression"),
    TaskHead("token_classification", LABELS),
    TaskHead("multiple_choice"),
    TaskHead("question_answering"),
]
each_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.problem_type or head.kind)


def reference(head: TaskHead, sizes: EncoderConfig = CONFIG, **config: object) -> PreTrainedModel:
    """A model of transformers with a head, and the weights of the reference model in its encoder."""
    names = dict(enumerate(head.labels)) if head.labels else {0: "LABEL_0", 1: "LABEL_1"}
    known = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    settings = {**sizes.as_dict(), **known, "problem_type": head.problem_type, **config}
    torch.manual_seed(1)
    model = getattr(transformers, BERT.architecture([], head))(BertConfig(**settings, attn_implementation="sdpa"))
    model.bert.load_state_dict(reference_model(sizes).bert.state_dict(), strict=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("classifier.bias", "qa_outputs.bias", "pooler.dense.bias")):
                parameter.normal_()
    return model.eval()


def answers(model: PreTrainedModel) -> Tensor:
    """Scores of a model of transformers: a row for each example, or for each token of all examples."""
    rows = padded(packed_examples())
    inputs = (rows.input_ids, rows.attention_mask, rows.token_type_ids)
    mask = rows.attention_mask.bool()
    with torch.no_grad():
        if type(model).__name__ == "BertForMultipleChoice":
            return model(*(each.view(2, 3, -1) for each in inputs)).logits.reshape(-1, 1)
        out = model(*inputs)
    if type(model).__name__ == "BertForQuestionAnswering":
        return torch.stack([out.start_logits, out.end_logits], -1)[mask]
    return out.logits[mask] if out.logits.dim() == 3 else out.logits


def our_scores(pretrained: Pretrained) -> Tensor:
    """The same scores from our encoder on packed tokens, and the head's tensors."""
    encoder = Encoder(pretrained.config).eval()
    encoder.load_state_dict(pretrained.state_of("encoder"))
    batch, state = packed_examples(), pretrained.state
    assert pretrained.head is not None
    first, *_, last = (*KINDS[pretrained.head.kind].modules, KINDS[pretrained.head.kind].modules[-1])
    with torch.no_grad():
        hidden = encoder(batch.tokens)[: batch.num_tokens]
        if first == "pooler.dense":
            hidden = hidden[batch.tokens.cu_seqlens[: batch.num_examples]]
            hidden = torch.tanh(linear(hidden, state[f"{first}.weight"], state[f"{first}.bias"]))
        return linear(hidden, state[f"{last}.weight"], state[f"{last}.bias"])


@each_head
def test_a_head_of_transformers_scores_the_same_here_and_after_its_way_back(tmp_path: Path, head: TaskHead) -> None:
    model = reference(head)
    model.save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    assert pretrained.head == head
    torch.testing.assert_close(our_scores(pretrained), answers(model), atol=1e-5, rtol=0)

    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", pretrained.config, pretrained.state, {}, head)
    again, info = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(answers(again.eval()), answers(model))
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["architectures"] == [type(model).__name__]
    if head.labels:
        assert again.config.id2label == dict(enumerate(head.labels))
        assert again.config.label2id == {name: number for number, name in enumerate(head.labels)}
    assert again.config.problem_type == head.problem_type
    assert_same(load_pretrained(tmp_path / "ours").state, pretrained.state)


def test_a_model_of_next_sentences_alone_goes_both_ways(tmp_path: Path) -> None:
    model = transformers.BertForNextSentencePrediction(reference_model().config)
    model.save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    assert (pretrained.head, pretrained.absent_heads) == (None, ["mlm_head"])
    assert architecture(pretrained.config, pretrained.state) == "BertForNextSentencePrediction"
    (tmp_path / "ours").mkdir()
    write_folder(tmp_path / "ours", pretrained.config, pretrained.state, {})
    again = transformers.BertForNextSentencePrediction.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in again.state_dict().items())


@each_head
def test_a_checkpoint_tells_its_head(tmp_path: Path, tokenizer: Tokenizer, head: TaskHead) -> None:
    config = config_for(tokenizer)
    state = from_huggingface(reference(head, config).state_dict(), config, head=head)
    payload = checkpoint_payload(config, tokenizer_files(tokenizer), {}, head)
    saved = {f"objective.{name}": tensor for name, tensor in state.items()}
    torch.save({"state_dict": saved, "global_step": 7, **payload}, tmp_path / "x.ckpt")
    pretrained = load_pretrained(tmp_path / "x.ckpt")
    assert pretrained.head == head
    assert_same(pretrained.state, state)
    assert bool(pretrained.pooler()) == ("pooler.dense" in KINDS[head.kind].modules)


def test_a_layer_that_transformers_does_not_have_is_kept_here_and_left_out_there(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config, head = config_for(tokenizer), TaskHead("question_answering")
    state = from_huggingface(reference(head, config).state_dict(), config, head=head)
    extra = {"answerability.weight": torch.ones(1, 32), "answerability.bias": torch.ones(1)}
    payload = checkpoint_payload(config, tokenizer_files(tokenizer), {}, head)
    for tensors, said in (
        (extra, None),
        ({**extra, "answerability.weight": torch.ones(2, 32)}, r"answerability\.weight is \(2, 32\)"),
        (
            {**extra, "oracle.bias": torch.ones(1)},
            r"has oracle\.bias, which a head for question_answering does not have",
        ),
    ):
        saved = {f"objective.{name}": tensor for name, tensor in (state | tensors).items()}
        torch.save({"state_dict": saved, "global_step": 7, **payload}, tmp_path / "x.ckpt")
        with pytest.raises(ValueError, match=said) if said else nullcontext():
            assert_same(load_pretrained(tmp_path / "x.ckpt").state, state | tensors)
    assert "answerability" not in str(to_huggingface(state | extra, config, head).keys())


def test_labels_without_names_get_those_of_transformers(tmp_path: Path) -> None:
    reference(HEADS[3], id2label=None, label2id=None, num_labels=2).save_pretrained(tmp_path)
    head = load_pretrained(tmp_path).head
    assert head is not None
    assert head.labels == ["LABEL_0", "LABEL_1"]


def test_a_pooler_that_old_classes_kept_without_using_it_is_left_out(tmp_path: Path) -> None:
    reference(HEADS[3]).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    pooler = {f"bert.pooler.dense.{kind}": torch.zeros(size) for kind, size in (("weight", (32, 32)), ("bias", (32,)))}
    save_file(tensors | pooler, tmp_path / "model.safetensors")
    pretrained = load_pretrained(tmp_path)
    assert pretrained.head == HEADS[3]
    assert not pretrained.pooler()


def test_without_the_name_of_a_class_the_tensors_tell_the_kind(tmp_path: Path) -> None:
    for head in (HEADS[0], HEADS[3], HEADS[5]):
        reference(head).save_pretrained(tmp_path)
        change_config(tmp_path, lambda content: content.pop("architectures"))
        assert load_pretrained(tmp_path).head == head


def change_config(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"architectures": ["BertForQuestionAnswering"]},
            r"lacks qa_outputs\.bias.* and has .*classifier\.weight, which BertForQuestionAnswering does not have",
        ),
        ({"id2label": {"0": "a", "1": "b"}}, r"classifier\.weight is \(3, 32\), config.json says \(2, 32\)"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, r"numbers the labels of id2label 0, 1, 3, not 0, 1, 2"),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, r"labels must have different names; 'a' is there more than"),
        ({"id2label": {"0": "a", "1": 5, "2": "c"}}, r"has id2label\.1=5, which must be text"),
        ({"id2label": ["a", "b", "c"]}, r"has id2label=\['a', 'b', 'c'\], which must be an object"),
        ({"problem_type": "ranking"}, r"problem_type of sequence_classification must be one of .*; got 'ranking'"),
        ({"architectures": "BertForQuestionAnswering"}, r"has architectures='BertForQ.*', which must be a list"),
        ({"id2label": None, "num_labels": 10**9}, r"has num_labels=1000000000, which must be a whole number from 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_head_that_is_not_what_config_json_says_is_refused(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    reference(HEADS[0]).save_pretrained(tmp_path)
    change_config(tmp_path, lambda content: content.update(change))
    with pytest.raises(ValueError, match=said) as error:
        load_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_a_strange_head_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    config = config_for(tokenizer)
    for head, said in (
        ({"kind": "oracle"}, r"the kind of a head must be one of .*; got 'oracle'"),
        ({"kind": "question_answering", "labels": ["a"]}, "a head for question_answering has 1 label"),
        ({"kind": "token_classification"}, "a head for token_classification has 0 labels"),
        (["x"], r"has head=\['x'\], which must be an object"),
    ):
        content = checkpoint_payload(config, tokenizer_files(tokenizer), {})
        content["bert_lightning"]["head"] = head
        torch.save({"state_dict": {}, "global_step": 7, **content}, tmp_path / "x.ckpt")
        with pytest.raises(ValueError, match=said):
            load_pretrained(tmp_path / "x.ckpt")
