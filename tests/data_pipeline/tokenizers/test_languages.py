"""German and Korean, written for these tests, prepared with every tokenizer."""

import json
from pathlib import Path

import pytest

from data_pipeline.preparation.sentences import split_sentences
from data_pipeline.prepared.manifest import Manifest
from data_pipeline.tokenizers.special_tokens import special_tokens
from data_pipeline.tokenizers.tokenizer import load_tokenizer
from tests.support.checkout import run_command
from tests.support.corpora import read_shard

GERMAN = [
    "Dr. Weber kam am 3. Mai nach Köln. Er suchte z. B. alte Bücher über Brücken.",
    "Die Größe der Mühle überraschte ihn. „Wie schön!“, rief er. Dann trank er Kaffee, Tee usw. im Garten.",
    "Im Winter fährt das Schiff nicht, weil der Fluss oft zufriert. Die Kinder laufen dann Schlittschuh.",
    "Prof. Schäfer misst ca. 1,80 m und wohnt in der Nähe des Bahnhofs. Sein Hund heißt Bär.",
    "Am 12. Oktober öffnete das neue Museum. Über tausend Gäste kamen, darunter der Bürgermeister.",
    "Das Wetter blieb trüb. Trotzdem gingen wir über die Felder bis zum nächsten Dorf.",
]
KOREAN = [
    "서울은 한강을 끼고 있는 큰 도시이다. 봄이 되면 강가에 벚꽃이 핀다. 사람들은 자전거를 타고 강을 따라 달린다.",
    "할머니는 시장에서 떡과 과일을 샀다. 집에 돌아와 따뜻한 차를 마셨다. 날씨가 무척 추웠다!",
    "우리 학교는 산 아래에 있다. 아침마다 안개가 짙게 낀다. 그래서 버스가 자주 늦는다.",
    "동생은 책을 많이 읽는다. 어제는 바다에 관한 책을 빌렸다. 무엇이 가장 재미있었을까?",
    "새 도서관은 지난해 10월에 문을 열었다. 하루에 천 명이 넘는 사람이 찾아온다. 모두가 조용히 책을 읽는다.",
    "비가 그치자 무지개가 떴다. 아이들은 창문을 열고 하늘을 보았다. 저녁에는 별이 보였다.",
]
SENTENCES = {"de": (GERMAN, 13), "ko": (KOREAN, 18)}
TOKENIZERS = {
    "wordpiece": "tokenizer.vocab_size=800",
    "byte_bpe": "tokenizer.vocab_size=500",
    "unigram": "tokenizer.vocab_size=600",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_end_by_the_rules_of_their_language(language: str) -> None:
    paragraphs, number = SENTENCES[language]
    assert len(split_sentences(paragraphs, language)) == number


def test_german_dates_and_abbreviations_end_no_sentence() -> None:
    assert split_sentences(GERMAN[:1], "de")[0] == "Dr. Weber kam am 3. Mai nach Köln."
    assert split_sentences(GERMAN[:1], "en")[0] != "Dr. Weber kam am 3. Mai nach Köln."


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_corpus_is_prepared_end_to_end(tmp_path: Path, language: str, name: str) -> None:
    paragraphs, number = SENTENCES[language]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in paragraphs]
    (tmp_path / "text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["corpus=jsonl", f"corpus.path={tmp_path / 'text.jsonl'}", f"corpus.language={language}"]
    arguments += [f"tokenizer={name}", TOKENIZERS[name], "tokenizer.lowercase=true", "tokenizer.strip_accents=false"]
    done = run_command(
        "prepare", *arguments, "validation_fraction=0", "executor.workers=1", "output_dir=out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (entry,) = Manifest.load(tmp_path / "out").splits["train"]
    assert (entry.documents, entry.sentences) == (len(paragraphs), number)
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer")
    shard = read_shard(tmp_path / "out", entry)
    assert (shard.tokens != special_tokens(tokenizer).unk).all()
    text = tokenizer.decode(shard.tokens[: shard.sentence_offsets[1]].tolist())
    assert text.replace(" ", "") == split_sentences(paragraphs, language)[0].lower().replace(" ", "")
