"""A folder written by bert-prepare, here or elsewhere: its manifest, its tokenizer, its shards.

On this machine the files are read where they are; files from elsewhere come through a cache on a disk of this node.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from data_pipeline.prepared import manifest as manifests
from data_pipeline.prepared.document_hashes import Hashes, parse_hashes
from data_pipeline.prepared.fetched_checks import check_manifest, check_tokenizer
from data_pipeline.prepared.file_hashes import checked_content
from data_pipeline.prepared.lengths_file import Offsets, parse_lengths_file
from data_pipeline.prepared.manifest import FileEntry, Manifest, ShardEntry
from data_pipeline.prepared.mentions_file import MENTIONS, NO_MENTIONS, Mentions, parse_mentions
from data_pipeline.prepared.prefetch import Prefetcher
from data_pipeline.prepared.shard_cache import ShardCache
from data_pipeline.prepared.shards import TokenShard, check_size, parse_lengths, parse_shard
from data_pipeline.prepared.storage import Storage, is_remote, open_storage, shown
from data_pipeline.prepared.transfer import fetch
from data_pipeline.tokenizers.tokenizer import read_tokenizer, tokenizer_sha256
from data_pipeline.tokenizers.transformers_files import save_tokenizer
from data_pipeline.untrusted.plain_files import MAX_TEXT_BYTES
from data_pipeline.whole_numbers import check_whole_number

CONNECTIONS = 8
_LENGTHS, _HASHES = "lengths", "hashes"
T = TypeVar("T")
E = TypeVar("E", bound=FileEntry)


class PreparedFolder:
    """A prepared folder, whose files are checked when they are read.

    Args:
        path: A folder, or an address: http(s)://, s3://, gs://, or pipe: and a command with {name}.
        cache_dir: Folder for the example index and for shards from elsewhere; by default the prepared folder itself, or
            ~/.cache/bert-lightning if that is an address or may not be written to.
        cache_bytes: Most bytes of shards kept from elsewhere; None for no limit.
        retries: How often a broken transfer is tried again.

    Raises:
        ValueError: if there is no manifest, or it cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        cache_dir: str | Path | None = None,
        cache_bytes: int | None = None,
        retries: int = 5,
    ) -> None:
        check_whole_number("data.retries", retries, least=0)
        self._files: _Files
        is_elsewhere = is_remote(path)
        default = Path(path) if not is_elsewhere and os.access(path, os.W_OK) else _cache_of_user()
        if is_elsewhere:
            cache = ShardCache(Path(cache_dir or default).expanduser().absolute(), cache_bytes, retries)
            self._files = _RemoteFiles(open_storage(str(path)), cache)
            kept = cache.folder
        else:
            self._files = _LocalFiles(Path(path))
            kept = Path(cache_dir or default).expanduser()
        self.path = str(path)
        self.index_dir = kept / "index"
        self.manifest = self._files.manifest()

    def __str__(self) -> str:
        return shown(self.path)

    @property
    def tokenizer_dir(self) -> Path:
        """The folder, on this machine, that AutoTokenizer loads."""
        return self._files.tokenizer_dir(self.manifest.tokenizer_sha256)

    def check_tokenizer(self) -> None:
        """Raise a ValueError if the tokenizer is not the one that the shards were made with."""
        tokenizer = read_tokenizer(self.tokenizer_dir)
        if tokenizer_sha256(tokenizer) != self.manifest.tokenizer_sha256:
            raise ValueError(f"the tokenizer in {self} is not the one that its shards were made with")
        if (size := tokenizer.get_vocab_size()) != self.manifest.vocab_size:
            raise ValueError(f"{self} has vocab_size={self.manifest.vocab_size}, its tokenizer has {size} entries")

    def check(self, entries: Sequence[ShardEntry]) -> None:
        """Raise a ValueError for a file of this machine that is missing or truncated, now rather than hours later."""
        for entry in entries:
            self._files.check(entry)
            for kind in (_LENGTHS, _HASHES, MENTIONS):
                if (file := entry.side_file(kind)) is not None:
                    self._files.check(file)

    def read(self, entries: Sequence[ShardEntry]) -> list[TokenShard]:
        """Return shards, fetched side by side and checked; ValueError naming the damaged one and the damage."""

        def parse(file: BinaryIO, where: str, entry: ShardEntry) -> TokenShard:
            return parse_shard(file.read(), where, entry, self.manifest.vocab_size)

        return self._parse(entries, parse)

    def read_lengths(self, entries: Sequence[ShardEntry]) -> list[tuple[Offsets, Offsets]]:
        """Return sentence and document offsets of shards, from the lengths files of those that have one."""

        def parse(file: BinaryIO, where: str, entry: ShardEntry) -> tuple[Offsets, Offsets]:
            if _LENGTHS in entry.side_files:
                return parse_lengths_file(file.read(), where, entry)
            return parse_lengths(file, where, entry)

        return self._parse(entries, parse, _file_of_lengths)

    def read_hashes(self, entry: ShardEntry) -> Hashes:
        """Return the hash of the content of each document of a shard, (documents,); without its file, from the tokens.

        Two documents with the same tokens have the same hash.
        """
        if (about := entry.side_file(_HASHES)) is None:
            return self.read([entry])[0].document_hashes

        def parse(file: BinaryIO, where: str, entry: ShardEntry) -> Hashes:
            return parse_hashes(file.read(), where, entry)

        return self._parse([entry], parse, lambda _: about)[0]

    def read_mentions(self, entries: Sequence[ShardEntry]) -> list[Mentions]:
        """Return the mentions of entities of shards; a shard without a file of them has none."""

        def parse(file: BinaryIO, where: str, entry: ShardEntry) -> Mentions:
            return parse_mentions(file.read(), where, entry, self.manifest.num_entities)

        read = iter(self._parse([entry for entry in entries if MENTIONS in entry.side_files], parse, _file_of_mentions))
        return [next(read) if MENTIONS in entry.side_files else NO_MENTIONS for entry in entries]

    def read_file(self, about: FileEntry) -> bytes:
        """Return a file that the manifest lists; ValueError if its hash is another one."""
        return self._parse([about], lambda file, where, _: checked_content(file.read(), where, about.sha256))[0]

    def prefetch_lengths(self, entries: Sequence[ShardEntry]) -> None:
        """Begin to fetch what `read_lengths` will read next, and return at once."""
        self._files.prefetch([_file_of_lengths(entry) for entry in entries])

    def prefetch(self, entries: Sequence[ShardEntry], with_mentions: bool = False) -> None:
        """Begin to fetch shards that will be read next, with their mentions if these are read, and return at once."""
        linked = [entry for entry in entries if with_mentions and MENTIONS in entry.side_files]
        self._files.prefetch([*entries, *map(_file_of_mentions, linked)])

    def _parse(
        self,
        entries: Sequence[E],
        parse: Callable[[BinaryIO, str, E], T],
        file_of: Callable[[E], FileEntry] = lambda entry: entry,
    ) -> list[T]:
        def parse_one(entry: E) -> T:
            about = file_of(entry)
            where = self._files.where(about.name)
            with self._files.open(about) as file:
                try:
                    return parse(file, where, entry)
                except ValueError:
                    if not self._files.renew(about, file):
                        raise
            with self._files.open(about) as file:
                return parse(file, where, entry)

        with ThreadPoolExecutor(self._files.connections) as pool:
            return list(pool.map(parse_one, entries))


def open_folder(folder: PreparedFolder | str | Path) -> PreparedFolder:
    """Return a prepared folder from itself or from its path."""
    return folder if isinstance(folder, PreparedFolder) else PreparedFolder(folder)


def _file_of_lengths(entry: ShardEntry) -> FileEntry:
    """Return the file that holds the lengths of a shard: a small one beside it, or the shard itself."""
    return entry.side_file(_LENGTHS) or entry


def _file_of_mentions(entry: ShardEntry) -> FileEntry:
    return entry.side_file(MENTIONS) or entry


def _cache_of_user() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bert-lightning"


class _Files(Protocol):
    """How the files of a prepared folder are read."""

    connections: int

    def where(self, name: str) -> str: ...
    def manifest(self) -> Manifest: ...
    def tokenizer_dir(self, sha256: str) -> Path: ...
    def check(self, entry: FileEntry) -> None: ...
    def open(self, entry: FileEntry) -> BinaryIO: ...
    def renew(self, entry: FileEntry, file: BinaryIO) -> bool: ...
    def prefetch(self, entries: Sequence[FileEntry]) -> None: ...


class _LocalFiles:
    connections = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def where(self, name: str) -> str:
        return str(self._folder / name)

    def manifest(self) -> Manifest:
        return Manifest.load(self._folder)

    def tokenizer_dir(self, sha256: str) -> Path:
        return self._folder / "tokenizer"

    def check(self, entry: FileEntry) -> None:
        check_size(self._folder, entry)

    def open(self, entry: FileEntry) -> BinaryIO:
        return check_size(self._folder, entry).open("rb")

    def renew(self, entry: FileEntry, file: BinaryIO) -> bool:
        return False

    def prefetch(self, entries: Sequence[FileEntry]) -> None:
        pass


class _RemoteFiles:
    connections = CONNECTIONS

    def __init__(self, storage: Storage, cache: ShardCache) -> None:
        self._storage = storage
        self._cache = cache
        self._ahead = Prefetcher(self._open)

    def where(self, name: str) -> str:
        return shown(self._storage.url(name))

    def manifest(self) -> Manifest:
        name = manifests.FILE_NAME
        return Manifest.parse(self._fetch(name, check_manifest, manifests.LARGEST_MANIFEST), self.where(name))

    def tokenizer_dir(self, sha256: str) -> Path:
        """Return the tokenizer's folder in the cache, made on first use and moved into place whole."""
        folder = self._cache.folder / "tokenizers" / sha256
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                fetched = Path(temporary) / "tokenizer.json"
                self._fetch("tokenizer/tokenizer.json", partial(check_tokenizer, fetched, sha256))
                save_tokenizer(read_tokenizer(fetched), Path(temporary) / "whole")
                with contextlib.suppress(OSError):  # another process was first
                    (Path(temporary) / "whole").rename(folder)
        return folder

    def check(self, entry: FileEntry) -> None:
        """Nothing is asked: each shard is checked when it is fetched."""

    def open(self, entry: FileEntry) -> BinaryIO:
        self._ahead.discard(entry)
        return self._open(entry)

    def _open(self, entry: FileEntry) -> BinaryIO:
        return self._cache.open(self._storage, entry)

    def renew(self, entry: FileEntry, file: BinaryIO) -> bool:
        """Discard a file that has changed on the disk since it was fetched; return whether it had changed."""
        file.seek(0)
        if hashlib.sha256(file.read()).hexdigest() == entry.sha256:
            return False
        self._cache.discard(self._storage, entry)
        return True

    def prefetch(self, entries: Sequence[FileEntry]) -> None:
        self._ahead.add(entries)

    def _fetch(self, name: str, check: Callable[[bytes], None], most_bytes: int = MAX_TEXT_BYTES) -> bytes:
        with tempfile.TemporaryFile() as file:
            fetch(self._storage, name, file, self._cache.retries, check=check, most_bytes=most_bytes)
            file.seek(0)
            return file.read()
