"""Licenses of text that many train on, for sources whose license a user has not stated."""

NOT_STATED = "not stated"
_KNOWN = {
    "wikipedia": "CC BY-SA (Wikipedia; attribution to its authors)",
    "bookcorpus": "unclear (BookCorpus: books collected without the consent of their authors, withdrawn)",
    "gutenberg": "public domain in the USA (Project Gutenberg; its license where its name is used)",
    "fineweb": "ODC-BY 1.0 (FineWeb); the rights in the pages are with their authors",
    "allenai/c4": "ODC-BY 1.0 (C4); the rights in the pages are with their authors",
    "openwebtext": "CC0 for the collection (OpenWebText); the rights in the pages are with their authors",
    "oscar": "CC0 for the collection (OSCAR); the rights in the pages are with their authors",
}


def licence_of(name: str, origin: str, licence: str) -> str:
    """Return the license of a source: as stated, or as it is known by the name or the origin of the source.

    >>> licence_of("books", "Project Gutenberg", "not stated")
    'public domain in the USA (Project Gutenberg; its license where its name is used)'
    >>> licence_of("notes", "our clinic", "not stated")
    'not stated'
    """
    text = f"{name} {origin}".lower()
    if licence != NOT_STATED:
        return licence
    return next((known for word, known in _KNOWN.items() if word in text), NOT_STATED)
