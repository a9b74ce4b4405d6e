"""bert-embed against transformers' outputs, from every kind of file, in any batches, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from bert_lightning.checkpoints.checkpoint import load_pretrained
from bert_lightning.checkpoints.huggingface import write_folder
from bert_lightning.embed import embed
from data_pipeline.tokenizers.transformers_files import tokenizer_files
from tests.support.checkout import run_command
from tests.support.checkpoints import config_for, write_checkpoint
from tests.support.configs import compose_config

TEXTS = [
    "the king walks slowly .",
    "the old",
    "",
    'the river, and "the king" walk to the old river: slowly.',
    "the kings' river",
    "the king " * 12,
]


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A Hugging Face folder with a pooler."""
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer")
    folder = tmp_path / "hf"
    folder.mkdir()
    write_folder(folder, config_for(tokenizer), load_pretrained(tmp_path / "x.ckpt").state, tokenizer_files(tokenizer))
    return folder


@pytest.fixture
def jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text, "review": text[:5]}) + "\n" for text in TEXTS))
    return path


def settings(*overrides: str) -> DictConfig:
    return compose_config("embed", list(overrides))


def vectors_of(folder: Path, name: str, *overrides: str) -> NDArray[np.float32]:
    """Run the command in this process; return what it wrote."""
    output = folder.parent / name
    embed(settings(f"checkpoint={folder}", f"output={output}", *overrides))
    return np.load(output, allow_pickle=False)


def reference(folder: Path, text: str) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Hidden states of all layers, (tokens, hidden) each, and the pooler's output of transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(text, return_tensors="pt", truncation=True, max_length=20)
    with torch.no_grad():
        out = AutoModel.from_pretrained(folder).eval()(**encoded, output_hidden_states=True)
    return [state[0] for state in out.hidden_states], out.pooler_output[0]


def assert_close(ours: NDArray[np.float32], theirs: list[torch.Tensor]) -> None:
    np.testing.assert_allclose(ours, torch.stack(theirs).numpy(), atol=1e-5, rtol=0)


def test_pooled_vectors_are_those_of_transformers(folder: Path, jsonl: Path) -> None:
    states = [reference(folder, text) for text in TEXTS]
    common = (f"input={jsonl}", "seq_len=20")
    assert_close(vectors_of(folder, "a.npy", *common), [each[-1].mean(0) for each, _ in states])
    assert_close(vectors_of(folder, "b.npy", *common, "pooling=cls"), [each[-1][0] for each, _ in states])
    assert_close(vectors_of(folder, "c.npy", *common, "pooling=pooler"), [pooled for _, pooled in states])


def test_layers_are_chosen_and_combined(folder: Path, jsonl: Path) -> None:
    states = [reference(folder, text)[0] for text in TEXTS]
    common = (f"input={jsonl}", "seq_len=20", "pooling=cls")
    four = [[each[layer][0] for layer in (-4, -3, -2, -1)] for each in states]
    chosen = "layers=[-4,-3,-2,-1]"
    assert_close(vectors_of(folder, "a.npy", *common, chosen), [torch.cat(each) for each in four])
    assert_close(vectors_of(folder, "b.npy", *common, chosen, "combine=sum"), [sum(each) for each in four])
    assert_close(vectors_of(folder, "c.npy", *common, chosen, "combine=mean"), [sum(each) / 4 for each in four])
    assert_close(vectors_of(folder, "d.npy", *common, "layers=[2]"), [each[2][0] for each in states])


def test_tokens_stand_one_after_another_with_their_places_in_the_text(folder: Path, jsonl: Path) -> None:
    vectors = vectors_of(folder, "a.npy", f"input={jsonl}", "seq_len=20", "pooling=tokens")
    assert_close(vectors, list(torch.cat([reference(folder, text)[0][-1] for text in TEXTS])))
    spans = np.load(folder.parent / "a.spans.npy", allow_pickle=False)
    assert len(spans) == len(vectors)
    encoded = AutoTokenizer.from_pretrained(folder)(TEXTS, return_offsets_mapping=True, truncation=True, max_length=20)
    expected = [(row, *span) for row, offsets in enumerate(encoded["offset_mapping"]) for span in offsets]
    assert spans.tolist() == [list(each) for each in expected]


def test_words_are_the_mean_of_their_pieces_and_know_where_they_stand(folder: Path, jsonl: Path) -> None:
    vectors = vectors_of(folder, "a.npy", f"input={jsonl}", "seq_len=20", "pooling=words", "layers=[1,-1]")
    spans = np.load(folder.parent / "a.spans.npy", allow_pickle=False).tolist()
    words = [TEXTS[row][begin:end] for row, begin, end in spans]
    assert words[:8] == ["the", "king", "walks", "slowly", ".", "the", "old", "the"]
    assert [word for word, (row, _, _) in zip(words, spans, strict=True) if row == 4] == ["the", "kings", "'", "river"]
    encoded = AutoTokenizer.from_pretrained(folder)(TEXTS[4])
    pieces = [position for position, word in enumerate(encoded.word_ids()) if word == 1]
    assert len(pieces) > 1
    states = reference(folder, TEXTS[4])[0]
    expected = torch.cat([states[layer][pieces].mean(0) for layer in (1, -1)])
    row = next(number for number, word in enumerate(words) if word == "kings")
    np.testing.assert_allclose(vectors[row], expected.numpy(), atol=1e-5, rtol=0)


def test_a_word_has_another_vector_in_another_context(folder: Path) -> None:
    path = folder.parent / "in.txt"
    path.write_text("the old river\nthe river walks\n")
    vectors = vectors_of(folder, "a.npy", f"input={path}", "pooling=words")
    assert not np.allclose(vectors[2], vectors[4], atol=1e-2)
    assert np.allclose(vectors[2], vectors_of(folder, "b.npy", "text='the old river'", "pooling=words")[2], atol=1e-6)


def test_every_format_of_input_and_output_gives_the_same(folder: Path, jsonl: Path) -> None:
    expected = vectors_of(folder, "a.npy", f"input={jsonl}", "seq_len=20")
    lines, table, parquet = (folder.parent / name for name in ("in.txt", "in.csv", "in.parquet"))
    lines.write_text("".join(f"{text}\n" for text in TEXTS))
    table.write_text(
        "id,review\n" + "".join(f'{n},"{text.replace(chr(34), chr(34) * 2)}"\n' for n, text in enumerate(TEXTS))
    )
    pyarrow.parquet.write_table(pyarrow.table({"review": TEXTS, "stars": range(len(TEXTS))}), parquet)
    for path, column in ((lines, "text"), (table, "review"), (parquet, "review")):
        found = vectors_of(folder, "b.npy", f"input={path}", f"column={column}", "seq_len=20")
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0)
    embed(settings(f"checkpoint={folder}", f"input={jsonl}", "seq_len=20", f"output={folder.parent / 'c.parquet'}"))
    written = pyarrow.parquet.read_table(folder.parent / "c.parquet")
    assert written["text"].to_pylist() == TEXTS
    assert written["row"].to_pylist() == list(range(len(TEXTS)))
    np.testing.assert_allclose(np.array(written["vector"].to_pylist()), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "words"])
def test_batches_and_chunks_change_nothing(folder: Path, pooling: str) -> None:
    """With 4 tokens in a batch, every text is a batch and a chunk."""
    path = folder.parent / "in.txt"
    path.write_text("".join(f"{' '.join(['the river king'] * (1 + number % 7))}\n" for number in range(60)))
    common = (f"input={path}", f"pooling={pooling}")
    one, many = (vectors_of(folder, f"{n}.npy", *common, f"batch_tokens={n}") for n in (100_000, 4))
    np.testing.assert_allclose(one, many, atol=1e-6, rtol=0)
    spans = [np.load(folder.parent / f"{n}.spans.npy", allow_pickle=False) for n in (100_000, 4) if pooling == "words"]
    assert all(np.array_equal(each, spans[0]) for each in spans)


def test_long_texts_are_cut_and_counted_or_refused(
    folder: Path, jsonl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vectors_of(folder, "a.npy", f"input={jsonl}", "seq_len=20").shape == (6, 32)
    assert (
        "6 x 32 numbers; number of texts: 6, of which 2 had more than 20 tokens and were cut" in capsys.readouterr().out
    )
    with pytest.raises(ValueError, match=r"in\.jsonl, line 4 has more than seq_len=20 tokens; truncate=true cuts it"):
        vectors_of(folder, "b.npy", f"input={jsonl}", "seq_len=20", "truncate=false")
    assert not (folder.parent / "b.npy").exists()


def test_an_error_in_the_last_row_leaves_no_file(folder: Path, jsonl: Path) -> None:
    with jsonl.open("a") as file:
        file.write('{"review": 5}\n')
    before = sorted(path.name for path in folder.parent.iterdir())
    for name in ("a.npy", "a.parquet"):
        with pytest.raises(ValueError, match=r"^column=text, but .*in\.jsonl, line 7 has no column 'text'"):
            vectors_of(folder, name, f"input={jsonl}", "pooling=words", "batch_tokens=4")
    assert sorted(path.name for path in folder.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["output=a.txt"], r"output=a\.txt must end in one of \.npy, \.parquet"),
        (["output=no/a.npy"], r"output=no/a\.npy is in a folder that does not exist"),
        (["pooling=max"], "pooling must be one of mean, cls, pooler, tokens, words; got max"),
        (["combine=max"], "combine must be one of concat, sum, mean; got max"),
        (["layers=[4]"], r"layers must be numbers from -4 to 3; got \[4\]"),
        (["layers=[]"], r"layers must be numbers from -4 to 3; got \[\]"),
        (["layers=2"], "layers must be a list; got 2"),
        (["pooling=pooler", "layers=[-2]"], r"pooling=pooler reads the last layer, not layers=\[-2\]"),
        (["seq_len=500"], "seq_len=500, but the model has max_position_embeddings=40"),
        (["batch_tokens=0"], "batch_tokens must be a whole number, at least 1; got 0"),
        (["truncate=maybe"], "truncate must be true or false; got maybe"),
        (["text=null"], "give either text=... or input=<file>"),
        (["input=in.jsonl"], "give either text=... or input=<file>"),
        (["text=null", "input=in.doc"], r"input=in\.doc must end in one of \.txt, \.tsv, \.csv, \.jsonl"),
        (["text=null", "input=none.jsonl"], r"none\.jsonl cannot be read: No such file"),
        (["text=null", "input=empty.txt"], r"empty\.txt holds no rows"),
        (["text=null", "input=empty.csv"], r"empty\.csv holds no rows"),
        (["accelerator=tpu"], "accelerator=tpu is not one of auto, cpu, gpu"),
    ],
    ids=str,
)
def test_wrong_input_is_one_line(
    folder: Path, overrides: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in ("empty.txt", "empty.csv"):
        Path(name).touch()
    with pytest.raises(ValueError, match=said) as error:
        embed(settings(f"checkpoint={folder}", "text=the king", "output=a.npy", *overrides))
    assert "\n" not in str(error.value)
    assert not list(folder.parent.glob("*a.npy*"))


def test_a_checkpoint_without_a_pooler_says_so(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_checkpoint(tmp_path / "x.ckpt", tokenizer, tmp_path / "tokenizer")
    pretrained = load_pretrained(tmp_path / "x.ckpt")
    state = {name: tensor for name, tensor in pretrained.state.items() if not name.startswith("nsp_head")}
    (tmp_path / "hf").mkdir()
    write_folder(tmp_path / "hf", pretrained.config, state, tokenizer_files(tokenizer))
    with pytest.raises(ValueError, match="hf has no trained pooler"):
        vectors_of(tmp_path / "hf", "a.npy", "text=the king", "pooling=pooler")


def test_the_command_takes_a_text_as_it_is_written(folder: Path) -> None:
    arguments = ["checkpoint=hf", "text=the king, (slowly) walks", "output=a.npy"]
    done = run_command("embed", *arguments, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "a.npy: 1 x 32 numbers; number of texts: 1\n"
    expected = reference(folder, "the king, (slowly) walks")[0][-1].mean(0)
    assert_close(np.load(folder.parent / "a.npy", allow_pickle=False), [expected])
    done = run_command("embed", "checkpoint=nowhere", *arguments[1:], cwd=folder.parent)
    assert (done.returncode, done.stderr) == (2, "error: checkpoint=nowhere does not exist\n")


def test_sentence_transformers_loads_the_folder_and_gives_the_same_vectors(folder: Path, jsonl: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors_of(folder, "a.npy", f"input={jsonl}"), theirs, atol=1e-5, rtol=0)
