"""Fine-tuning of causal models: what is read, transformers' classes, and the way of a model through all commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2ForSequenceClassification

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.evaluate import evaluate
from bert_lightning.export import export
from bert_lightning.models.encoder import Encoder
from bert_lightning.objectives.question_answering import AnswerableQuestionAnswering
from bert_lightning.objectives.sequence_classification import SequenceClassification
from bert_lightning.predict import predict
from data_pipeline.streams.packed_batch import PackedBatch
from data_pipeline.streams.packed_shape import PackedShape
from data_pipeline.streams.task_packing import TaskPacker
from data_pipeline.tasks.choice_pairs import encode_choices
from data_pipeline.tasks.encoded import BOTH_ORDERS, FIRST, LABELS, LAST, EncodedExamples
from data_pipeline.tasks.task_records import ChoiceQuestion, LabeledText
from data_pipeline.tasks.texts import encode_texts
from tests.finetuning.tiny_task import finetune_here, lines, settings
from tests.support.causal_models import write_causal
from tests.support.parity import CONFIG, random_weights
from tests.support.runs import compose_here
from tests.support.settings import Settings

TEXTS = [("the king walks", "a queen"), ("no", "the old king walks slowly"), (".", ".")]


def encoded(tokenizer: Tokenizer, extract: str, seq_len: int = 40) -> EncodedExamples:
    pairs = [LabeledText(str(row), *pair, None, "here") for row, pair in enumerate(TEXTS)]
    return encode_texts(tokenizer, pairs, seq_len, np.array([1, 0, 1], np.int32), "train", extract)


def packed(examples: EncodedExamples) -> PackedBatch:
    rows = np.arange(len(examples))
    return TaskPacker(examples).pack([rows], [rows], PackedShape(8, 40, 12))[0]


def words(tokenizer: Tokenizer, examples: EncodedExamples) -> list[str]:
    parts = np.split(examples.input_ids, examples.cu_seqlens[1:-1])
    return [tokenizer.decode(part.tolist(), skip_special_tokens=False) for part in parts]


def test_start_delimiter_and_extract_tokens_stand_where_gpt_has_them(tokenizer: Tokenizer) -> None:
    first, last, both = (encoded(tokenizer, extract) for extract in (FIRST, LAST, BOTH_ORDERS))
    assert words(tokenizer, last) == words(tokenizer, first)
    assert words(tokenizer, last)[0] == "[CLS] the king walks [SEP] a queen [SEP]"
    lengths = np.diff(last.cu_seqlens)
    assert (first.targets[LABELS].positions == 0).all()
    assert (last.targets[LABELS].positions == lengths - 1).all()
    swapped = ["[CLS] a queen [SEP] the king walks [SEP]", "[CLS] the old king walks slowly [SEP] no [SEP]"]
    assert words(tokenizer, both)[::2] == words(tokenizer, last)
    assert words(tokenizer, both)[1:5:2] == swapped
    assert both.targets[LABELS].labels.tolist() == [1, -100, 0, -100, 1, -100]
    assert len(both) == 3
    question = ChoiceQuestion("0", "the king", ("walks", "a queen"), 1, "here")
    choices = encode_choices(tokenizer, [question], 40, "train", LAST)
    assert words(tokenizer, choices) == ["[CLS] the king [SEP] walks [SEP]", "[CLS] the king [SEP] a queen [SEP]"]
    assert (choices.targets[LABELS].positions == np.diff(choices.cu_seqlens) - 1).all()
    with pytest.raises(ValueError, match="here has one text; both orders need a pair"):
        encode_texts(tokenizer, [LabeledText("0", "a", None, None, "here")], 9, np.zeros(1, np.int32), "x", BOTH_ORDERS)


def test_loss_and_gradients_are_those_of_the_class(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = GPT2ForSequenceClassification(write_causal(tmp_path / "lm", tokenizer).config)
    model.config.num_labels = 2
    random_weights(model).save_pretrained(tmp_path / "theirs")
    pretrained = load_pretrained(tmp_path / "theirs")
    assert pretrained.head is not None
    assert pretrained.head.extract == LAST
    ours = SequenceClassification(pretrained.config, 2)
    ours.load_state_dict(pretrained.state)
    examples = encoded(tokenizer, LAST)
    batch = packed(examples)
    sums = ours(batch)
    parts = [torch.from_numpy(part).long() for part in np.split(examples.input_ids, examples.cu_seqlens[1:-1])]
    rows = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=0)
    found = model(input_ids=rows, attention_mask=(rows != 0).long(), labels=torch.tensor([1, 0, 1]))
    torch.testing.assert_close(sums["label_loss"] / 3, found.loss, atol=1e-5, rtol=0)
    (sums["label_loss"] / 3).backward()
    found.loss.backward()
    table = ours.encoder.embeddings.token.weight.grad
    assert table is not None
    assert model.transformer.wte.weight.grad is not None
    torch.testing.assert_close(ours.classifier.weight.grad, model.score.weight.grad, atol=1e-5, rtol=0)
    size = pretrained.config.vocab_size
    torch.testing.assert_close(table[:size], model.transformer.wte.weight.grad, atol=1e-5, rtol=0)


def test_both_orders_add_their_hidden_states(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_causal(tmp_path, tokenizer)
    config = load_pretrained(tmp_path).config
    model = random_weights(SequenceClassification(config, 3)).eval()
    model.reads_both_orders = True
    examples = encoded(tokenizer, BOTH_ORDERS)
    batch = packed(examples)
    scores = model.scores(batch)[:6]
    hidden = model.encoder(batch.tokens, batch.targets[LABELS].positions[:6])  # (sequences, hidden)
    summed = hidden[::2] + hidden[1::2]
    expected = model.classifier(summed)
    torch.testing.assert_close(scores[::2], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores[1::2], expected, atol=1e-5, rtol=1e-5)
    assert model.counts(batch)["label_loss"] == 3


def test_a_classifier_on_the_start_token_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """It has seen nothing of the question."""
    write_causal(tmp_path, tokenizer)
    with pytest.raises(ValueError, match=r"answerability_weight=0\.5 .*is_causal=true; take .*=null"):
        AnswerableQuestionAnswering(load_pretrained(tmp_path).config)


def causal_settings(folder: Path, tokenizer: Tokenizer) -> Settings:
    given = settings(folder, tokenizer)
    write_causal(folder / "gpt", tokenizer)
    return given | {"checkpoint": folder / "gpt", "callbacks.report": "null", "data.seq_len": 64}


def test_a_classifier_goes_through_all_commands(
    tmp_path: Path, tokenizer: Tokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    given = causal_settings(tmp_path, tokenizer)
    scores = finetune_here(given)
    assert scores["validation/accuracy"]["mean"] > 0.9
    run, table = tmp_path / "runs" / "run", tmp_path / "texts" / "dev.tsv"
    export(compose_here("export", {"checkpoint": run, "output_dir": tmp_path / "hf"}))
    model = GPT2ForSequenceClassification.from_pretrained(tmp_path / "hf")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = [line.split("\t")[0] for line in table.read_text().splitlines()[1:]]
    inputs = theirs(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits.softmax(-1)
    for place in (run, tmp_path / "hf"):
        asked = {"checkpoint": place, "input": table, "output": tmp_path / "out.jsonl", "accelerator": "cpu"}
        predict(compose_here("predict", asked))
        found = [list(line["probabilities"].values()) for line in lines(tmp_path / "out.jsonl")]
        torch.testing.assert_close(torch.tensor(found), expected, atol=1e-5, rtol=0)
        labeled = {"checkpoint": place, "labeled.path": table, "accelerator": "cpu"}
        means = evaluate(compose_here("evaluate", labeled))["labeled"]
        assert means["accuracy"] == pytest.approx(scores["validation/accuracy"]["mean"])


def test_similar_texts_are_read_in_both_orders(tmp_path: Path, tokenizer: Tokenizer) -> None:
    given = causal_settings(tmp_path, tokenizer) | {"task.text_pair": "other", "task.both_orders": "true"}
    scores = finetune_here(given)
    run, table = tmp_path / "runs" / "run", tmp_path / "texts" / "dev.tsv"
    asked = {"checkpoint": run, "input": table, "output": tmp_path / "out.jsonl", "accelerator": "cpu"}
    predict(compose_here("predict", asked | {"pair_column": "other"}))
    straight = [line["probabilities"]["good"] for line in lines(tmp_path / "out.jsonl")]
    predict(compose_here("predict", asked | {"column": "other", "pair_column": "text"}))
    assert [line["probabilities"]["good"] for line in lines(tmp_path / "out.jsonl")] == pytest.approx(
        straight, abs=1e-6
    )
    labeled = {"checkpoint": run, "labeled.path": table, "labeled.text_pair": "other", "accelerator": "cpu"}
    means = evaluate(compose_here("evaluate", labeled))["labeled"]
    assert means["accuracy"] == pytest.approx(scores["validation/accuracy"]["mean"])
    with pytest.raises(ValueError, match="a head that reads both orders, which GPT-2's classes in transformers do not"):
        export(compose_here("export", {"checkpoint": run, "output_dir": tmp_path / "hf"}))


def test_choices_are_read_at_their_last_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = [
        {"text": "alpha", "choices": ["beta", "omega"] if row % 2 else ["omega", "beta"], "label": 1 - row % 2}
        for row in range(40)
    ]
    (tmp_path / "choices").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "choices" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    given = causal_settings(tmp_path, tokenizer)
    task = {"task": "multiple_choice", "task.path": tmp_path / "choices", "epochs": 4}
    scores = finetune_here(given | task)
    assert scores["validation/accuracy"]["mean"] == 1
    labeled = {"checkpoint": tmp_path / "runs" / "run", "labeled.path": tmp_path / "choices" / "dev.jsonl"}
    assert evaluate(compose_here("evaluate", labeled | {"accelerator": "cpu"}))["labeled"]["accuracy"] == 1
    with pytest.raises(ValueError, match="a head for multiple_choice, which GPT-2's classes in transformers do not"):
        export(compose_here("export", {"checkpoint": tmp_path / "runs" / "run", "output_dir": tmp_path / "hf"}))


def test_encoders_that_see_both_sides_keep_their_pooler() -> None:
    model = SequenceClassification(CONFIG, 2)
    assert {name for name in model.state_dict() if not name.startswith("encoder.")} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert isinstance(model.encoder, Encoder)
