"""Models that others learn from, read from a run, a checkpoint or a Hugging Face folder."""

from collections.abc import Callable

from tokenizers import Tokenizer

from bert_lightning.checkpoints.checkpoint import Pretrained, load_pretrained
from bert_lightning.models.attention import PackedAttention
from bert_lightning.models.encoder_config import EncoderConfig
from bert_lightning.objectives.teacher import Teacher
from data_pipeline.untrusted.escaping import printable


def load_teacher(
    path: str | None, config: EncoderConfig, tokenizer: Tokenizer, attention: Callable[[EncoderConfig], PackedAttention]
) -> Teacher:
    """Return the teacher of a pre-training.

    Args:
        path: A run, a checkpoint, or a Hugging Face folder.
        config: Sizes of the student.
        tokenizer: Tokenizer of the prepared data.
        attention: Function of a model's sizes that returns how packed sequences attend to themselves.

    Raises:
        ValueError: if it cannot be read, has another vocabulary, or cannot read what the student reads.
    """
    if path is None:
        raise ValueError("objective.teacher must be the run, checkpoint or Hugging Face folder to learn from; got null")
    pretrained = read_teacher("objective.teacher", path, tokenizer)
    given = pretrained.config
    if given.vocab_size != config.vocab_size:
        raise ValueError(f"model.vocab_size={config.vocab_size}, but objective.teacher has {given.vocab_size}")
    if given.is_causal != config.is_causal:
        raise ValueError(f"model.is_causal={config.is_causal}, but objective.teacher has {given.is_causal}")
    if given.positions == "learned" and given.max_position_embeddings < config.max_position_embeddings:
        raise ValueError(
            f"model.max_position_embeddings={config.max_position_embeddings}, but objective.teacher has "
            f"{given.max_position_embeddings}"
        )
    state = {name: pretrained.state_of(name) for name in ("encoder", "mlm_head")}
    teacher = Teacher(given, bool(state["mlm_head"]), attention(given))
    teacher.load_state_dict({f"{part}.{name}": each for part, names in state.items() for name, each in names.items()})
    return teacher


def read_teacher(key: str, path: str, tokenizer: Tokenizer) -> Pretrained:
    """Return a model whose token ids mean the same tokens.

    Args:
        key: The setting that names it.
        path: A run, a checkpoint, or a Hugging Face folder.
        tokenizer: The tokenizer whose ids it is going to read.

    Raises:
        ValueError: naming the setting, if it cannot be read or an id means another token there.
    """
    try:
        pretrained = load_pretrained(path)
        theirs = pretrained.tokenizer()
    except ValueError as error:
        raise ValueError(f"{key}={path}: {error}") from error
    sizes = theirs.get_vocab_size(), tokenizer.get_vocab_size()
    if sizes[0] != sizes[1]:
        raise ValueError(f"{key}={path} has another vocabulary: {sizes[0]} tokens there, {sizes[1]} here")
    for index in range(sizes[1]):
        there, here = theirs.id_to_token(index), tokenizer.id_to_token(index)
        if there != here:
            words = f"{printable(there or '')} there, {printable(here or '')} here"
            raise ValueError(f"{key}={path} has another vocabulary: token {index} is {words}")
    return pretrained
