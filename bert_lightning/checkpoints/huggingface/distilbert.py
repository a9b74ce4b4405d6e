"""DistilBERT (Sanh et al., 2019) in transformers: a BERT without segments.

Its class for whole texts has a ReLU where the pooler of this package has a tanh, so that class is not in the table; a
model with such a head is written as a RoBERTa.
"""

from bert_lightning.checkpoints.huggingface.family import EMBEDDINGS, Family
from bert_lightning.checkpoints.huggingface.task_classes import TaskClass
from bert_lightning.checkpoints.task_head import CLASSIFIER, QA_OUTPUTS, QUESTION_ANSWERING, TOKEN_CLASSIFICATION

DISTILBERT = Family(
    title="DistilBERT",
    model_type="distilbert",
    prefix="distilbert",
    encoder={ours: theirs for ours, theirs in EMBEDDINGS.items() if ours != "embeddings.segment"},
    layer_name="transformer.layer.{}",
    layer={
        "attention_output": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "intermediate": "ffn.lin1",
        "output": "ffn.lin2",
        "output_norm": "output_layer_norm",
    },
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    heads={"mlm_head.transform": "vocab_transform", "mlm_head.norm": "vocab_layer_norm", "mlm_head": "vocab_projector"},
    left_out=("nsp_head", "sop_head"),
    classes=((("mlm_head",), "DistilBertForMaskedLM"), ((), "DistilBertModel")),
    tasks={
        TOKEN_CLASSIFICATION: TaskClass("DistilBertForTokenClassification", {CLASSIFIER: "classifier"}),
        QUESTION_ANSWERING: TaskClass("DistilBertForQuestionAnswering", {QA_OUTPUTS: "qa_outputs"}),
    },
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
    fields={
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
        "max_position_embeddings": "max_position_embeddings",
        "initializer_range": "initializer_range",
        "pad_token_id": "pad_token_id",
    },
    aliases={"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"},
    required={"type_vocab_size": 0, "layer_norm_eps": 1e-12},
    usual={"num_hidden_layers": 6},
)
