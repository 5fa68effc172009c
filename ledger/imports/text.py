"""This module is the bytes of a text file into text, and a web archive (MHTML) into the page in it.

Terminals write UTF-16 with a byte order mark, scripts write UTF-8. Editors and browsers save them again in other
encodings. Those are read where the file proves which one it is, and refused otherwise: a guess would change names.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from email.parser import BytesHeaderParser
from typing import Final

from ledger.imports.cells import EXPECTED, Place

#: Bytes that editors and version control leave behind the end of a file.
_BLANK: Final = b"\x00\t\n\r \x1a"
_LONGEST_TAIL: Final = 16
_END_OF_HTML: Final = "</html>"

_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DECLARED: Final = re.compile(rb"""<meta\s[^<>]{0,200}?charset\s{0,8}=\s{0,8}["']?([\w.:-]{1,40})""", re.IGNORECASE)
#: Parts of a web archive among which the page is; browsers write it first.
_MOST_PARTS: Final = 50
_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")
#: What an export has in its first lines: a time, a tag of HTML, or a field name of a dump.
_LIKE_EXPORT: Final = re.compile(r"\d{4}[.-]\d\d[.-]\d\d|<(?:!doctype|html|table)|time_msc|position_id", re.IGNORECASE)
#: Where a declaration can be, and where the first rows of a file are.
_HEAD: Final = 4096

#: Encodings that a page may declare. UTF-8 and UTF-16 are not among them: a file in them was decoded before.
_DECLARABLE: Final = frozenset(
    codecs.lookup(name).name
    for name in (
        *(f"windows-{number}" for number in range(1250, 1259)),
        *(f"iso-8859-{number}" for number in (1, 2, 5, 7, 8, 9, 13, 15)),
        *("koi8-r", "koi8-u", "shift_jis", "euc-jp", "gb2312", "gbk", "gb18030", "big5", "euc-kr"),
    )
)

#: Encoding -> words of report headers that have letters beyond ASCII, as the terminal translates them. Two of them
#: identify an encoding: read in another one, the same bytes are other letters.
_WORDS: Final = {
    "windows-1251": (
        "Время", "Сделка", "Символ", "Направление", "Объем", "Объём", "Цена", "Ордер", "Комиссия", "Прибыль", "Баланс",
        "Комментарий", "Позиция", "Сделки", "Позиции", "Счет", "Счёт", "Компания", "Дата", "Отчет", "Валюта", "Посока", "Обем",
        "Поръчка", "Печалба", "Коментар", "Сметка", "Време",
    ),
    "windows-1252": (
        "Bénéfice", "Période", "Société", "Opérations", "Gebühr", "Gebühren", "Währung",
        "Aufträge", "Geschäfte", "Abschlüsse", "Eröffnungszeit", "Símbolo", "Dirección", "Comisión", "Transacción",
        "Posición", "Operación", "Compañía", "Divisa", "Preço", "Direção", "Comissão", "Comentário", "Posição", "Transação",
        "Operações", "Posições", "Negociação", "Histórico", "Relatório", "Società", "Quantità",
    ),
}  # fmt: skip
_WORDS_ENOUGH: Final = 2


def decode(data: bytes, place: Place) -> str:
    """Return the text of a file.

    Raises:
        MalformedExport: Nothing in the file proves its encoding, or it is cut off.
    """
    encoding = _marked(data) or _unmarked_utf16(data)
    if encoding is None:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            proven = _declared(data) or _by_words(data)
            if proven is not None:
                return proven
            raise _undecodable(error, place) from None
    try:
        return _without_tail(data, encoding).decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(error, place) from None


def _undecodable(error: UnicodeDecodeError, place: Place) -> Exception:
    return place.error(
        f"{EXPECTED} in UTF-16 or UTF-8, found bytes that are neither (byte {error.start}: {error.reason}). "
        "The file is cut off, or another kind of file, or was saved in another encoding: export it again."
    )


def _marked(data: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def _unmarked_utf16(data: bytes) -> str | None:
    """Return the byte order of UTF-16 without a mark: the one in which the file begins like an export.

    In the other order digits and tags are letters of East Asia.
    """
    if b"\x00" not in data[:_HEAD]:
        return None
    head = data[: 16 * _HEAD]
    orders = [order for order in ("utf-16-le", "utf-16-be") if _LIKE_EXPORT.search(head.decode(order, "replace"))]
    return orders[0] if len(orders) == 1 else None


def _without_tail(data: bytes, encoding: str) -> bytes:
    """Return UTF-16 without single blank bytes behind its end, which editors and version control add."""
    if not encoding.startswith("utf-16"):
        return data
    order = "utf-16-be" if encoding == "utf-16-be" or data.startswith(codecs.BOM_UTF16_BE) else "utf-16-le"
    tail = data[-(_LONGEST_TAIL + 2 * len(_END_OF_HTML)) :]
    end = tail.lower().rfind(_END_OF_HTML.encode(order))
    if end >= 0:
        behind = len(tail) - end - 2 * len(_END_OF_HTML)
        if behind and all(byte in _BLANK for byte in tail[-behind:]):
            return data[:-behind]
    if len(data) % 2 and data[-1] in _BLANK and data[-1]:
        return data[:-1]
    return data


def _declared(data: bytes) -> str | None:
    """Return the text in the one-byte or East Asian encoding that a page declares in its head."""
    found = _DECLARED.search(data, 0, _HEAD)
    if found is None:
        return None
    try:
        name = codecs.lookup(found[1].decode("ascii")).name
        return data.decode(name) if name in _DECLARABLE else None
    except (LookupError, ValueError):
        return None


def _by_words(data: bytes) -> str | None:
    """Return the text in the one encoding in which it has the words of a report in some language."""
    matching = [
        encoding
        for encoding, words in _WORDS.items()
        if sum(_contains(data, word.encode(encoding)) for word in words) >= _WORDS_ENOUGH
    ]
    if len(matching) != 1:
        return None
    try:
        return data.decode(matching[0])
    except UnicodeDecodeError:
        return None


def _contains(data: bytes, word: bytes) -> bool:
    """Whether a text has a word by itself."""
    at = data.find(word)
    if at < 0:
        return False
    around = data[max(0, at - 1) : at] + data[at + len(word) : at + len(word) + 1]
    return not any(chr(byte).isalnum() and byte < 128 for byte in around) and not any(byte >= 192 for byte in around)


# ------------------------------------------------------------------------------------------------------------- MHTML


def is_mhtml(data: bytes) -> bool:
    """Whether a file is a web page that a browser saved as one file."""
    head = data[:_HEAD].lower()
    return b"mime-version:" in head and b"content-type:" in head and b"multipart/related" in head and not head.startswith(b"<")


def mhtml_page(data: bytes, place: Place) -> str:
    """Return the page of a web archive: its first part that is HTML.

    Raises:
        MalformedExport: It has no page, is cut off, or its page cannot be decoded.
    """
    boundary = BytesHeaderParser().parsebytes(_header(data)).get_boundary()
    marker = f"--{boundary}".encode("ascii", "replace")
    if boundary is None or marker + b"--" not in data[-_HEAD:]:
        raise _no_page(place)
    for part in data.split(b"\n" + marker, _MOST_PARTS + 1)[1 : _MOST_PARTS + 1]:
        header = BytesHeaderParser().parsebytes(_header(part.lstrip()))
        if header.get_content_type() == "text/html":
            content = _unpacked(
                part.lstrip()[len(_header(part.lstrip())) :], str(header.get("Content-Transfer-Encoding", "")), place
            )
            return _page(content, header.get_content_charset(), place)
    raise _no_page(place)


def _header(part: bytes) -> bytes:
    """Return the header of a message or a part, up to the empty line."""
    end = _EMPTY_LINE.search(part, 0, _HEAD)
    return part[: end.end()] if end else part[:_HEAD]


def _unpacked(body: bytes, encoding: str, place: Place) -> bytes:
    kind = encoding.strip().lower()
    if kind == "base64":
        try:
            return base64.b64decode(body)
        except binascii.Error:
            raise _no_page(place) from None
    return quopri.decodestring(body) if kind == "quoted-printable" else body


def _page(content: bytes, charset: str | None, place: Place) -> str:
    try:
        if charset is not None and codecs.lookup(charset).name in _DECLARABLE:
            return content.decode(charset)
    except (LookupError, ValueError):
        pass  # what the archive states is wrong: the page itself may prove its encoding
    return decode(content, place)


def _no_page(place: Place) -> Exception:
    return place.error(
        "expected a web archive (MHTML) with a page in it, found one without, or one that is cut off. "
        "Save the report again as HTML."
    )
