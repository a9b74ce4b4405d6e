"""BERT (Devlin et al., 2019) in transformers."""

from bert_lightning.checkpoints.huggingface.family import Family
from bert_lightning.checkpoints.huggingface.task_classes import task_classes
from bert_lightning.checkpoints.task_head import CLASSIFIER, POOLER

BERT = Family(
    title="BERT",
    model_type="bert",
    prefix="bert",
    heads={
        "nsp_head.pooler.dense": "bert.pooler.dense",
        "nsp_head.classifier": "cls.seq_relationship",
        "mlm_head.transform": "cls.predictions.transform.dense",
        "mlm_head.norm": "cls.predictions.transform.LayerNorm",
        "mlm_head": "cls.predictions",
    },
    borrowed={"sop_head.pooler.dense": "nsp_head.pooler.dense"},
    left_out=("sop_head.classifier",),
    classes=(
        (("mlm_head", "nsp_head.classifier"), "BertForPreTraining"),
        (("nsp_head.classifier",), "BertForNextSentencePrediction"),
        (("mlm_head",), "BertForMaskedLM"),
        ((), "BertModel"),
    ),
    tasks=task_classes("Bert", {POOLER: "bert.pooler.dense", CLASSIFIER: "classifier"}),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    constants={"position_embedding_type": "absolute", "is_decoder": False},
)
"""Masked tokens and next sentences; of a head for sentence order only the pooler has a counterpart."""
