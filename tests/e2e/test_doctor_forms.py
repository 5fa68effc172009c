"""Doctor names what a gateway speaks, and what it cannot do."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
import zmq

from tests.gateway.engine_server import EngineServer, position
from tests.gateway.terminals import GIVE_UP_SEC, Terminal, echoing, plain
from tests.support.commands import run
from tests.support.service import ServedTerminal

PATIENT = str(round(GIVE_UP_SEC * 1000))


def ejtrader(number, request):
    return (json.dumps({"positions": [{}]}).encode(),)


def without_ping(number, request):
    """Answer PING by an error, as a gateway that does not know it."""
    if request["action"] == "PING":
        refused = {"status": "ERROR", "req_id": request["req_id"], "error_code": "UNKNOWN_ACTION", "error_msg": "PING"}
        return (json.dumps(refused).encode(),)
    return echoing(number, request)


@contextmanager
def service(folder):
    with ServedTerminal(folder) as served:
        served.until_connected()
        yield served.service


@pytest.mark.parametrize(
    ("open_it", "options", "name", "lacks"),
    [
        (service, (), "version 2", ("symbols; orders",)),
        (lambda _: Terminal(echoing), (), "version 1, extended form", ("no orders", "no pushed events")),
        (lambda _: Terminal(without_ping), (), "version 1, extended form", ("no orders", "no pushed events")),
        (lambda _: Terminal(plain), (), "version 1, base form", ("neither account nor server time nor deals",)),
        (lambda _: EngineServer(position(1), knows_wildcard=True), (), "engine form", ("neither account nor server time",)),
        (lambda _: Terminal(ejtrader, kind=zmq.REP), ("--form", "ejtrader"), "MQL5-JSON-API", ("positions only",)),
    ],
    ids=["version 2", "version 1", "without PING", "base form", "engine form", "ejtrader"],
)
def test_doctor_names_the_form_and_what_it_lacks(open_it, options, name, lacks, tmp_path):
    with open_it(tmp_path) as server:
        at_it = ("--gateway", server.endpoint, "--timeout-ms", PATIENT, *options)
        checks = {one["check"]: one for one in run("doctor", "--json", *at_it, journal=f"sqlite:///{tmp_path}/none.db").json()}
    found = checks["form"]
    assert (found["state"], found["gateway"], found["advice"]) == ("ok", server.endpoint, None)
    assert found["seen"].startswith(f"{name}")
    assert all(words in found["seen"] for words in lacks)
    assert ("pushed events" in found["seen"] and "no pushed events" not in found["seen"]) == (name == "version 2")
