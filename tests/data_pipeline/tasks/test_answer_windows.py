"""Windows of questions: every token seen, answers found again from labels, maximum context, answers that are cut."""

from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer

from data_pipeline.records import NO_LABEL
from data_pipeline.tasks.answer_windows import END, START, AnswerWindows, encode_questions, max_context, window_spans
from data_pipeline.tasks.squad import read_squad
from data_pipeline.tasks.task_records import Answer, Question
from data_pipeline.tokenizers.byte_bpe import train_byte_bpe
from data_pipeline.tokenizers.tokenizer import load_tokenizer, train_wordpiece
from data_pipeline.tokenizers.unigram import train_unigram
from tests.support.checkout import SHARED_DATA

CONTEXT = "In 1191 Duke Berthold founded Bern (the city). Café Zoë, 5.0%, opened much later — in 1905."
TEXTS = [CONTEXT, "When was the city founded? Who founded it?", "the river of the old city"] * 3
TRAINERS = [train_wordpiece, train_byte_bpe, train_unigram]


def question(answer: str | None, context: str = CONTEXT, identifier: str = "q") -> Question:
    answers = (Answer(answer, context.index(answer)),) if answer else ()
    return Question(identifier, "When was the city founded?", context, answers, answer is None, "x.json, data[0]")


def windows_of(windows: AnswerWindows) -> list[dict[str, np.ndarray]]:
    """What each window consists of."""
    examples = windows.examples
    found = []
    for begin, end in zip(examples.cu_seqlens, examples.cu_seqlens[1:], strict=False):
        arrays = (examples.input_ids, examples.token_type_ids, windows.char_begin, windows.char_end)
        names = ("ids", "types", "begin", "end", "max")
        found.append({n: a[begin:end] for n, a in zip(names, (*arrays, windows.has_max_context), strict=True)})
    return found


def answer_text(windows: AnswerWindows, window: int, context: str) -> str | None:
    """The text that the labels of a window point at; None for no answer."""
    first, last = (int(windows.examples.targets[name].labels[window]) for name in (START, END))
    columns = windows_of(windows)[window]
    return context[columns["begin"][first] : columns["end"][last]].strip() if first > 0 else None


@pytest.mark.parametrize("train", TRAINERS)
@pytest.mark.parametrize("answer", ["In", "1191", "Duke Berthold", "the city", "Café Zoë", "5.0", "1905", "1905."])
def test_labels_point_at_the_answer(train: Callable[..., Tokenizer], answer: str) -> None:
    """Answers at the very first and the very last token are answers too, with every kind of vocabulary."""
    tokenizer = train(TEXTS, vocab_size=400)
    windows = encode_questions(tokenizer, [question(answer)])
    assert len(windows.questions) == 1
    assert answer_text(windows, 0, CONTEXT) == answer


def test_a_window_that_cuts_the_answer_has_none_and_another_has_it_whole() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=400)
    every = [question(answer) for answer in ("1191 Duke Berthold founded", "0%, opened much later", "In")]
    windows = encode_questions(tokenizer, every, seq_len=30, doc_stride=4, max_query_length=8)
    for number, each in enumerate(every):
        mine = np.flatnonzero(windows.questions == number)
        assert len(mine) > 2
        texts = [answer_text(windows, window, CONTEXT) for window in mine]
        assert set(texts) == {None, each.answers[0].text}


def test_windows_are_what_bert_reads() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=400)
    windows = encode_questions(tokenizer, [question("1191")], seq_len=30, doc_stride=4, max_query_length=3)
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    whole = tokenizer.encode(CONTEXT, add_special_tokens=False).ids
    query = tokenizer.encode("When was the city founded?", add_special_tokens=False).ids[:3]
    seen: list[int] = []
    for number, window in enumerate(windows_of(windows)):
        part = window["ids"][5:-1].tolist()
        assert window["ids"].tolist() == [cls, *query, sep, *part, sep]
        assert part == whole[4 * number : 4 * number + len(part)]
        assert window["types"].tolist() == [0] * 5 + [1] * (len(part) + 1)
        assert (window["begin"] >= 0).tolist() == [False] * 5 + [True] * len(part) + [False]
        seen += (4 * number + np.flatnonzero(window["max"][5:-1])).tolist()
    assert sorted(seen) == list(range(len(whole)))  # every token has its maximum context once


def test_impossible_and_unlabeled_questions() -> None:
    tokenizer = train_wordpiece(TEXTS, vocab_size=400)
    unlabeled = Question("u", "When?", CONTEXT, (), False, "x")
    windows = encode_questions(tokenizer, [question(None), unlabeled])
    assert windows.examples.targets[START].labels.tolist() == [0, NO_LABEL]
    assert windows.examples.targets[END].labels.tolist() == [0, NO_LABEL]


def test_an_empty_text_has_one_window() -> None:
    windows = encode_questions(train_wordpiece(TEXTS, vocab_size=400), [question(None, context=" ")])
    assert not (windows.char_begin >= 0).any()
    assert len(windows.examples) == 1


def test_maximum_context_is_googles_rule() -> None:
    """Written again as the two nested loops of run_squad.py."""
    for num_tokens, room, stride in ((50, 20, 7), (41, 10, 10), (30, 16, 15), (700, 320, 300)):
        spans = window_spans(num_tokens, room, stride)
        masks = max_context(spans, num_tokens)
        for token in range(num_tokens):
            scores = {}
            for window, (begin, end) in enumerate(spans):
                if begin <= token < end:
                    scores[window] = min(token - begin, end - 1 - token) + 0.01 * (end - begin)
            best = max(scores, key=lambda window: (scores[window], -window))
            holders = [w for w, (b, e) in enumerate(spans) if b <= token < e and masks[w][token - b]]
            assert holders == [best]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seq_len": 67}, r"seq_len=67 leaves no room for a text beside task\.max_query_length=64"),
        ({"doc_stride": 0}, r"task\.doc_stride must be a whole number, at least 1; got 0"),
    ],
)
def test_what_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_questions(train_wordpiece(TEXTS, vocab_size=400), [question("1191")], **settings)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
def test_real_questions() -> None:
    """The labels of nearly all windows point at the answer itself; the others at the words that hold it."""
    tokenizer = load_tokenizer(SHARED_DATA / "bert-vocab.txt")
    questions = read_squad(SHARED_DATA / "squad" / "dev-v1.1.rebuilt.json")[:2000]
    windows = encode_questions(tokenizer, questions)
    same = 0
    labels = windows.examples.targets[START].labels
    for window in np.flatnonzero(labels > 0).tolist():
        each = questions[windows.questions[window]]
        text, answer = answer_text_fast(windows, window, each.context), each.answers[0].text
        assert answer in text
        same += text == answer
    assert same > 0.99 * np.count_nonzero(labels > 0)
    assert np.count_nonzero(labels > 0) >= len(questions)


def answer_text_fast(windows: AnswerWindows, window: int, context: str) -> str:
    begin = windows.examples.cu_seqlens[window]
    first, last = (begin + windows.examples.targets[name].labels[window] for name in (START, END))
    return context[windows.char_begin[first] : windows.char_end[last]]
