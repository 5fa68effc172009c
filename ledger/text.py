"""This is text from outside as it may be shown: what a terminal would obey, hide or reorder is written as an escape.

Symbols, comments, servers, operators and error texts come from brokers and people. A control character in them can clear a
screen, an invisible or bidirectional one can make a line read as another (Unicode Technical Report 36, "Trojan Source").
"""

from __future__ import annotations

import re
from typing import Any, Final

# C0 (with DEL), C1, the separators of lines and paragraphs, surrogates, bidirectional marks, noncharacters, and all that
# Unicode allows a program to show as nothing (DerivedCoreProperties.txt, "Default_Ignorable_Code_Point", Unicode 16): zero
# width characters, fillers, variation selectors, tags.
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f"
_HIDDEN: Final = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSAFE: Final = re.compile(f"[{_CONTROLS}{_HIDDEN}]")
_UNSAFE_IN_LINES: Final = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_HIDDEN}]")
_UNSAFE_IN_JSON: Final = re.compile(f"[\x7f-\x9f{_HIDDEN}]")  # what is below, JSON writes as escapes itself
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection"), whatever number of quotes is in front of it.
_FORMULA: Final = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def visible(text: str) -> str:
    """Return a text as one line that shows all that is in it, with the escapes of Python's own literals."""
    return _UNSAFE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return a text with its line ends and tabs as they are, and everything else as ``visible`` writes it."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def json_text(value: Any, *, indent: int | None = None, is_ascii: bool = False) -> str:
    """Return JSON that shows all that is in it.

    Args:
        value: What ``json.dumps`` takes.
        indent: Spaces for each level; None for one line.
        is_ascii: Escape everything beyond ASCII, for an output that cannot encode it.
    """
    import json  # help and errors need none

    return _UNSAFE_IN_JSON.sub(_json_escape, json.dumps(value, ensure_ascii=is_ascii, indent=indent))


def csv_text(text: str) -> str:
    """Return a text for a cell of CSV: with a quote in front where a spreadsheet would take it for a formula.

    It can be taken back: ``csv_plain``.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def csv_plain(cell: str) -> str:
    """Return the text that a cell of CSV was made of by ``csv_text``."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _SHORT.get(letter) or (f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}")


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    above = code - 0x10000
    return f"\\u{0xD800 + (above >> 10):04x}\\u{0xDC00 + (above & 0x3FF):04x}"
