"""The model of the order path that is checked by exhaustion, against the states that this package derives."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.unit.test_order_states import MODEL_MOVES

MODEL = Path(__file__).resolve().parents[3] / "shared" / "orders_model.py"

pytestmark = pytest.mark.skipif(not MODEL.exists(), reason=f"the sample exports are not at {MODEL.parent}")


def test_the_model_makes_the_moves_that_the_states_are_tested_with():
    model = runpy.run_path(str(MODEL))
    rules = model["VARIANTS"]["all"].rules
    begin = model["State"](("-",) * 2, ("-",) * 2, (0, 0), (), model["IDLE"], model["CRASHES"])
    known, waiting, moves = {begin}, [begin], set()
    while waiting:
        state = waiting.pop()
        for after in model["successors"](state, rules):
            moves |= {pair for pair in zip(state.journal, after.journal, strict=True) if pair[0] != pair[1]}
            if after not in known:
                known.add(after)
                waiting.append(after)
    assert moves == MODEL_MOVES
