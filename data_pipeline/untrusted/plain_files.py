"""Files of a folder that others wrote: plain files inside it, never what a link or a name with .. leads to.

One layout of links is known: the cache of Hugging Face, in which models--<name>/snapshots/<revision>/<file> is a link
to models--<name>/blobs/<hash>.
"""

import os
import re
import stat
from pathlib import Path

MAX_TEXT_BYTES = 1 << 26
"""Most bytes of one manifest, configuration or tokenizer file; the largest that are known have about 35 million."""
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")


def plain_file(folder: Path, name: str) -> Path:
    """Return the path of a plain file of a folder.

    Args:
        folder: The folder, as the user named it: links on the way to it are the user's.
        name: The file's name; a path of several names is refused.

    Raises:
        ValueError: naming the file, if it is absent, or anything but a plain file directly inside the folder.
    """
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"{folder} names the file {name!r}, which is not the name of a file inside it")
    root = folder.resolve()
    path = root / name
    if path.is_symlink() and (blob := _blob(root, path)) is not None:
        path = blob
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise ValueError(f"{folder} has no {name}") from None
    if stat.S_ISLNK(mode):
        raise ValueError(f"{folder / name} is a link to {os.readlink(path)}; only plain files of the folder are read")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{folder / name} is not a plain file")
    return path


def has_file(folder: Path, name: str) -> bool:
    """Return whether a folder has an entry of a name that is not a folder; `plain_file` says whether it is plain."""
    return (folder / name).is_symlink() or ((folder / name).exists() and not (folder / name).is_dir())


def read_plain(folder: Path, name: str, most_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a plain file of a folder; the errors of `plain_file`, and ValueError if it is too long."""
    path = plain_file(folder, name)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"{folder / name} is longer than {most_bytes} bytes")
    return content


def read_plain_text(folder: Path, name: str, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a plain file of a folder; the errors of `read_plain`, and ValueError if it is not UTF-8."""
    try:
        return read_plain(folder, name, most_bytes).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / name} is not UTF-8 text: {error}") from error


def _blob(root: Path, link: Path) -> Path | None:
    """Return the file that a link of Hugging Face's cache leads to, None if it leads anywhere else."""
    model = root.parent.parent
    target = Path(os.path.realpath(link))
    is_cache = root.parent.name == "snapshots" and model.name.startswith("models--")
    return target if is_cache and target.parent == model / "blobs" else None
