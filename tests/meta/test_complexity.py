"""No function has more branches than can be seen at once."""

from __future__ import annotations

from typing import Final

import pytest

from tools.dev import complexity

BRANCHES_MAX: Final = 20


def test_no_function_has_more_branches_than_can_be_seen_at_once():
    assert [one for one in complexity.measured() if one.branches > BRANCHES_MAX] == []


@pytest.mark.parametrize(
    ("body", "branches", "lines"),
    [
        ('"""Do nothing."""', 0, 0),
        ('"""Do nothing."""; return 1', 0, 1),
        ("for one in x:\n        print(one if one else 0)", 2, 2),
        ("try:\n        pass\n    except ValueError:\n        pass", 1, 4),
        ("match x:\n        case 1 if y and z: pass\n        case _: pass", 2, 3),
        ("def within():\n        while x: pass", 1, 2),
    ],
)
def test_what_is_a_branch_and_a_line(body, branches, lines, tmp_path, monkeypatch):
    monkeypatch.setattr(complexity, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(f"def outer(x, y, z):\n    {body}\n", encoding="utf-8")
    outer = next(one for one in complexity.measured(tmp_path) if one.where.endswith("outer"))
    assert (outer.branches, outer.lines) == (branches, lines)
