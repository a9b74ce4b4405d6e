"""How long the examples of a fine-tuned model are."""

import pytest
import torch

from bert_lightning.checkpoints.checkpoint import Pretrained
from bert_lightning.checkpoints.task_head import MULTIPLE_CHOICE, QUESTION_ANSWERING, TaskHead
from bert_lightning.inference.loading import LoadedModel
from bert_lightning.inference.task_means import example_length
from bert_lightning.models.encoder import Encoder
from data_pipeline.tokenizers.tokenizer import train_wordpiece
from tests.support.models import tiny_encoder


def model(kind: str, most: int, trained: int | None = None) -> LoadedModel:
    config = tiny_encoder(max_position_embeddings=most)
    pretrained = Pretrained(config, {}, {}, TaskHead(kind), {} if trained is None else {"data": {"seq_len": trained}})
    return LoadedModel("hf", pretrained, Encoder(config), train_wordpiece(["a text"], 40), torch.device("cpu"))


def test_examples_are_as_long_as_in_the_fine_tuning_or_as_is_usual() -> None:
    assert example_length(model(MULTIPLE_CHOICE, 512, trained=128)) == 128
    assert example_length(model(MULTIPLE_CHOICE, 512)) == 512
    assert example_length(model(QUESTION_ANSWERING, 512, trained=128)) == 128
    assert example_length(model(QUESTION_ANSWERING, 512)) == 384
    assert example_length(model(QUESTION_ANSWERING, 64)) == 64
    assert example_length(model(QUESTION_ANSWERING, 512), seq_len=500) == 500
    with pytest.raises(ValueError, match="seq_len=513, but the model has max_position_embeddings=512"):
        example_length(model(QUESTION_ANSWERING, 512), seq_len=513)
