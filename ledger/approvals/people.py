"""Who is who: which names are one person."""

from __future__ import annotations

import unicodedata
from typing import Final

from ledger.errors import BadValue
from ledger.values import shown, to_text

#: What cannot be seen: control and format characters, and these, which count as marks, letters, symbols, or are not assigned.
_UNSEEN: Final = frozenset(("Cc", "Cf"))
_UNSEEN_TOO: Final = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, *range(0x180B, 0x1810)))) | {
    chr(one)
    for first, last in ((0x2060, 0x206F), (0xFE00, 0xFE0F), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF))
    for one in range(first, last + 1)
}


def person(name: str) -> str:
    """Return what two names have in common if they are one person's.

    Compared without case, spaces at the ends, repeated spaces and what cannot be seen, in the compatibility form of Unicode:
    ``Ann``, ``ann `` and full-width letters are one person. Letters of other alphabets that look alike are not found: a name is
    no proof of who wrote it.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = ("" if _is_unseen(one) else " " if one.isspace() else one for one in text)
    return unicodedata.normalize("NFKC", " ".join("".join(seen).split()))


def _is_unseen(one: str) -> bool:
    return one in _UNSEEN_TOO or (unicodedata.category(one) in _UNSEEN and not one.isspace())


def is_same_person(one: str, other: str) -> bool:
    """Return whether two names are one person's."""
    return person(one) == person(other)


def to_person(name: str) -> str:
    """Return a name as it is recorded: without spaces around it.

    Raises:
        BadValue: It is no text, or nothing of it can be seen.
    """
    text = to_text(name, "an operator").strip()
    if not person(text):
        raise BadValue(f"expected the name of a person, found {shown(name)}: nothing of it can be seen")
    return text
