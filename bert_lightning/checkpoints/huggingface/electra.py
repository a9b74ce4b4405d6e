"""ELECTRA (Clark et al., 2020) in transformers.

Its classes for whole texts have a GELU where the pooler of this package has a tanh, so they are not in the table; a
model with such a head is written as an ALBERT that shares no layers.
"""

from typing import Any

from bert_lightning.checkpoints.huggingface.family import EMBEDDINGS, FIELDS, Family
from bert_lightning.checkpoints.huggingface.task_classes import TaskClass
from bert_lightning.checkpoints.task_head import CLASSIFIER, QA_OUTPUTS, QUESTION_ANSWERING, TOKEN_CLASSIFICATION
from bert_lightning.models.encoder_config import EncoderConfig


class Electra(Family):
    """Replaced tokens, as the discriminator has them; or masked tokens, as the generator has them."""

    def config_fields(self, config: EncoderConfig) -> dict[str, Any]:
        """Return the sizes; the width of the embeddings is never left open."""
        return super().config_fields(config) | {"embedding_size": config.embedding_width}


ELECTRA = Electra(
    title="ELECTRA",
    model_type="electra",
    prefix="electra",
    encoder=EMBEDDINGS | {"embeddings.projection": "embeddings_project"},
    heads={
        "mlm_head.transform": "generator_predictions.dense",
        "mlm_head.norm": "generator_predictions.LayerNorm",
        "mlm_head": "generator_lm_head",
        "rtd_head.dense": "discriminator_predictions.dense",
        "rtd_head.prediction": "discriminator_predictions.dense_prediction",
    },
    left_out=("nsp_head", "sop_head"),
    classes=(
        (("rtd_head",), "ElectraForPreTraining"),
        (("mlm_head",), "ElectraForMaskedLM"),
        ((), "ElectraModel"),
    ),
    tasks={
        TOKEN_CLASSIFICATION: TaskClass("ElectraForTokenClassification", {CLASSIFIER: "classifier"}),
        QUESTION_ANSWERING: TaskClass("ElectraForQuestionAnswering", {QA_OUTPUTS: "qa_outputs"}),
    },
    copies={"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"},
    fields=FIELDS | {"embedding_size": "embedding_size"},
    constants={"position_embedding_type": "absolute", "is_decoder": False},
    traits=frozenset({"embedding_size"}),
    usual={"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024},
    head_activation="gelu",
)
