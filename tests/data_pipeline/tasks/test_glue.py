"""GLUE: ten-line files in the official layouts, the real files and their counts, and what is refused."""

import logging
from collections import Counter
from pathlib import Path

import pytest

from data_pipeline.tasks.glue import GLUE_TASKS, read_glue
from tests.support.checkout import SHARED_DATA

MNLI_COLUMNS = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse"
)
OFFICIAL = {
    ("cola", "train.tsv"): "gj04\t1\t\tThey left.\ngj04\t0\t*\tThem left.\n",
    ("cola", "test.tsv"): "index\tsentence\n0\tThey left.\n1\tThem left.\n",
    ("sst2", "dev.tsv"): "sentence\tlabel\nfine . \t1\nbad \t0\n",
    ("sst2", "test.tsv"): "index\tsentence\n0\tfine .\n1\tbad\n",
    ("mrpc", "train.tsv"): "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    '1\t7\t8\tHe "left.\tHe went.\r\n0\t7\t8\tA\tB\r\n',
    ("mrpc", "test.tsv"): "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tA\tB\n1\t7\t8\tC\tD\n",
    ("stsb", "dev.tsv"): "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    "0\tg\tf\t2012\t1\tn\tn\tA\tB\t4.75\n1\tg\tf\t2012\t2\tn\tn\tC\tD\t0.0\n",
    ("qqp", "train.tsv"): "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    "4\t1\t2\tA?\tB?\t0\n5\t3\t4\tC?\tD?\t1\n",
    ("qqp", "test.tsv"): "id\tquestion1\tquestion2\n0\tA?\tB?\n1\tC?\tD?\n",
    ("mnli", "train.tsv"): "\t".join([*MNLI_COLUMNS.split(), "sentence1", "sentence2", "label1", "gold_label"])
    + "\n0\t1\t1n\tx\t(\t(\t(\t(\tA\tB\tneutral\tneutral\n1\t2\t2e\tx\t(\t(\t(\t(\tC\tD\tentailment\tentailment\n",
    ("mnli", "dev_matched.tsv"): "\t".join(
        [*MNLI_COLUMNS.split(), "sentence1", "sentence2", *(f"label{n}" for n in range(1, 6)), "gold_label"]
    )
    + "\n0\t1\t1n\tx\t(\t(\t(\t(\tA\tB" + "\tcontradiction" * 6
    + "\n1\t2\t2e\tx\t(\t(\t(\t(\tC\tD" + "\tneutral" * 6 + "\n",
    ("qnli", "train.tsv"): "index\tquestion\tsentence\tlabel\n0\tA?\tB\tentailment\n1\tC?\tD\tnot_entailment\n",
    ("rte", "train.tsv"): "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n1\tC\tD\tentailment\n",
    ("wnli", "train.tsv"): "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n1\tC\tD\t0\n",
}  # fmt: skip
EXPECTED = {
    ("cola", "train.tsv"): ["acceptable", "unacceptable"],
    ("sst2", "dev.tsv"): ["positive", "negative"],
    ("mrpc", "train.tsv"): ["equivalent", "not_equivalent"],
    ("stsb", "dev.tsv"): [4.75, 0.0],
    ("qqp", "train.tsv"): ["not_duplicate", "duplicate"],
    ("mnli", "train.tsv"): ["neutral", "entailment"],
    ("mnli", "dev_matched.tsv"): ["contradiction", "neutral"],
    ("qnli", "train.tsv"): ["entailment", "not_entailment"],
    ("rte", "train.tsv"): ["not_entailment", "entailment"],
    ("wnli", "train.tsv"): ["entailment", "not_entailment"],
}
SPLITS = {"train.tsv": "train", "dev.tsv": "validation", "dev_matched.tsv": "validation", "test.tsv": "test"}
REAL = {
    ("cola", "train"): (8551, {"acceptable": 6023, "unacceptable": 2528}),
    ("cola", "validation"): (1043, {"acceptable": 719, "unacceptable": 324}),
    ("sst2", "train"): (67349, {"positive": 37569, "negative": 29780}),
    ("sst2", "validation"): (872, {"positive": 444, "negative": 428}),
    ("sst2", "test"): (1821, {"negative": 917, "positive": 904}),
    ("mrpc", "train"): (3576, {"equivalent": 2407, "not_equivalent": 1169}),
    ("mrpc", "validation"): (500, {"equivalent": 346, "not_equivalent": 154}),
    ("mrpc", "test"): (1725, {"equivalent": 1147, "not_equivalent": 578}),
    ("stsb", "train"): (5749, None),
    ("stsb", "validation"): (1500, None),
    ("stsb", "test"): (1379, None),
    ("qnli", "validation"): (5463, {"not_entailment": 2761, "entailment": 2702}),
    ("rte", "train"): (2127, {"entailment": 1078, "not_entailment": 1049}),
    ("rte", "validation"): (277, {"entailment": 146, "not_entailment": 131}),
}


@pytest.mark.parametrize(("name", "file"), OFFICIAL)
def test_official_layouts(tmp_path: Path, name: str, file: str) -> None:
    task = GLUE_TASKS[name]
    (tmp_path / task.folder).mkdir()
    (tmp_path / task.folder / file).write_text(OFFICIAL[name, file], encoding="utf-8", newline="")
    examples = read_glue(task, tmp_path, SPLITS[file])
    assert examples == read_glue(task, tmp_path / task.folder, SPLITS[file])
    assert [example.label for example in examples] == EXPECTED.get((name, file), [None, None])
    assert [example.identifier for example in examples] == ["0", "1"]
    assert all((example.text_pair is None) == (task.text_pair is None) for example in examples)
    if name == "mrpc" and file == "train.tsv":
        assert (examples[0].text, examples[0].text_pair) == ('He "left.', "He went.")


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize(("name", "split"), REAL)
def test_real_files(name: str, split: str) -> None:
    examples = read_glue(GLUE_TASKS[name], SHARED_DATA / "glue", split)
    count, labels = REAL[name, split]
    assert len(examples) == len({example.identifier for example in examples}) == count
    assert not [example for example in examples if not example.text.strip() or example.text_pair == ""]
    assert labels is None or Counter(example.label for example in examples) == labels
    assert labels or all(0 <= example.label <= 5 for example in examples)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n1\tC\tD\n", "line 3 has 3 fields; RTE has 4"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tneutral\n", "label='neutral', which must be one of"),
        ("rte", "index\tsentence1\tsentence2\n0\tA\tB\n", "line 2 has no column 'label'; it has index, sentence1"),
        ("rte", "some prose\nand more\n", "line 1 has 1 field; RTE has 4: index, sentence1, sentence2, label"),
        ("rte", "", "holds no examples"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n", "holds no examples"),
        ("stsb", "a\tb\tc\td\tfive\tA\tB\n", "line 1 has score='five', which must be a finite number"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / "train.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_glue(GLUE_TASKS[name], tmp_path, "train")


def test_an_absent_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no train split of CoLA: train.tsv or raw/in_domain_train.tsv"):
        read_glue(GLUE_TASKS["cola"], tmp_path, "train")
    assert GLUE_TASKS["mnli"].files(tmp_path, "mismatched") == []


def test_short_lines_of_qqp_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train.tsv").write_text(OFFICIAL["qqp", "train.tsv"] + "9\t1\t2\tcut\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_glue(GLUE_TASKS["qqp"], tmp_path, "train")) == 2
    assert "left out: 1 line with fewer than 6 fields" in caplog.text
    assert "line 4" in caplog.text
