"""A law: whatever secret a channel has and however it fails, the secret is in no output, log, error or repr."""

from __future__ import annotations

import http.client
import logging
import smtplib
import ssl
import string
import traceback
import urllib.error
from email.message import Message
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger import Ledger
from ledger.alerts.channels import DeliveryFailed, open_channel, send
from ledger.journal.memory import MemoryJournal
from tests.support.alerts import Desk, MailServer, Receiver, ghost_opened, settings_file
from tests.support.commands import run
from tests.support.journals import Clock

#: No word of a message has a part like these.
SECRETS = st.text(string.ascii_letters + string.digits, min_size=12, max_size=24).map(lambda text: f"Zq{text}")
PATHS = ("/{}", "/hook/{}?token={}", "/x y/{}", "/\u00e9{}", "/{}\x01")
WEBHOOK = '[alerts.channels.c]\ntype = "webhook"\nurl_file = "url"\nsecret_file = "hmac"\ntimeout_sec = 2\n'
CHAT = '[alerts.channels.c]\ntype = "apprise"\nurl_file = "url"\n'
MAIL = (
    '[alerts.channels.c]\ntype = "smtp"\nhost = "127.0.0.1"\nport = {}\nfrom = "a@desk.example"\nto = ["b@desk.example"]\n'
    'user = "desk"\npassword_file = "password"\nca_file = "cert.pem"\n'
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with Receiver() as receiver, MailServer(tmp_path_factory.mktemp("mail"), "another password") as mail:
        yield receiver, mail


class Heard(logging.Handler):
    """Everything that anything logs."""

    def __init__(self):
        super().__init__(0)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def heard():
    handler, root = Heard(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def urls(receiver):
    """Ways to a receiver that fail: it answers an error, nobody is there, no TLS, no URL."""
    plain = receiver.url
    begins = (plain, "http://127.0.0.1:9", plain.replace("http", "https"), "ftp://h", "",
              plain.replace("//", "//{}:{}@"), "http://h:{}", "http://[{}")  # fmt: skip
    return st.tuples(st.sampled_from(begins), st.sampled_from(PATHS)).map("".join)


@settings(
    max_examples=50,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), secret=SECRETS, hmac=SECRETS, kind=st.sampled_from(["webhook", "apprise", "smtp", "deadman"]))
def test_no_secret_is_ever_shown(servers, tmp_path_factory, capfd, heard, data, secret, hmac, kind):
    receiver, mail = servers
    folder = tmp_path_factory.mktemp("desk")
    receiver.status = data.draw(st.sampled_from([302, 400, 404, 500]))
    receiver.location = f"{receiver.url}/{secret}"
    url = data.draw(urls(receiver)).replace("{}", secret)
    if kind == "apprise":
        url = f"{data.draw(st.sampled_from(['json', 'xml', 'form', 'nonsense']))}://{receiver.url[7:]}/{secret}"
    (folder / "cert.pem").write_bytes(mail.ca_file.read_bytes())
    text = {
        "webhook": WEBHOOK, "apprise": CHAT, "smtp": MAIL.format(mail.port),
        "deadman": '[alerts.deadman]\nurl_file = "url"\ntimeout_sec = 2\n',
    }[kind]  # fmt: skip
    configuration = settings_file(folder, text, url=url, hmac=hmac, password=secret)
    clock = Clock()
    with Desk(Ledger(MemoryJournal(clock), clock), configuration) as desk:
        desk.append(ghost_opened())
        desk.round(61)
        shown = [repr(configuration), str(configuration), repr(desk.alerter), repr(desk.log.lines)]
        assert desk.log.of("dead-man signal not sent" if kind == "deadman" else "not sent")
    for channel in configuration.alerts.channels.values():
        sender = open_channel(channel)
        with pytest.raises(DeliveryFailed) as failed:
            send(sender, desk_notice())
        error = failed.value
        shown += [repr(sender), repr(vars(sender)), repr(error), *traceback.format_exception(error)]
    if kind != "deadman":
        ran = run("alert", "--test", "--config", str(folder / "ledger.toml"))
        assert ran.code == 3
        shown.append(ran.text)
    output = capfd.readouterr()
    shown += [output.out, output.err, *(line for line in heard.lines if not line.startswith(("mail.", "b'")))]
    everything = "\n".join(shown)
    for one in {secret, hmac, quote(secret), secret.lower()}:
        assert one not in everything


_FAILURES = (
    ValueError, OSError, http.client.HTTPException, http.client.InvalidURL, ssl.SSLError, TimeoutError, RuntimeError,
    urllib.error.URLError, lambda text: urllib.error.URLError(ConnectionRefusedError(111, text)),
    lambda text: urllib.error.HTTPError(text, 404, text, Message(), None),
    lambda text: smtplib.SMTPResponseException(535, text), lambda text: smtplib.SMTPRecipientsRefused({text: (550, text)}),
    lambda text: OSError(2, text, text), lambda text: UnicodeEncodeError("latin-1", text, 0, 1, text),
)  # fmt: skip


class Broken:
    refresh_sec: float | None = None

    def __init__(self, error: Exception) -> None:
        self.error = error

    def send(self, _: Any) -> None:
        raise self.error


@given(SECRETS, st.sampled_from(_FAILURES))
def test_the_text_of_no_error_is_passed_on(secret, make):
    error = make(secret)
    with pytest.raises(DeliveryFailed) as failed:
        send(Broken(error), desk_notice())
    assert str(failed.value)
    assert secret not in "".join(traceback.format_exception(failed.value))
    if hasattr(error, "close"):
        error.close()


def desk_notice():
    from ledger.alerts.conditions import Condition
    from ledger.alerts.notices import Notice, State

    return Notice(condition=Condition(key="k", kind="test", what="w", since_us=1), state=State.TEST, stage=None, now_us=1)
