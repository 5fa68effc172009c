"""Settings of alerts: what they may hold, what an error states, and that no secret is in one."""

from __future__ import annotations

import msgspec
import pytest

from ledger import BadValue, alert_settings
from ledger.alert_settings import AlertSettings, Secret, Smtp, Webhook
from ledger.config import read
from ledger.values import AccountId
from tests.support.alerts import settings_file

FULL = """
[alerts]
grace_sec = 30
escalate_min = [5, 10]
routes = [["desk"], ["desk", "mail"]]
accounts = ["Broker-Live/70113"]
[alerts.channels.desk]
type = "webhook"
url_file = "secrets/desk"
secret_env = "DESK_HMAC"
timeout_sec = 3
[alerts.channels.mail]
type = "smtp"
host = "mail.example"
from = "ledger@example.com"
to = ["ann@example.com", "bob@example.com"]
user = "ledger"
password_file = "/run/secrets/mail"
[alerts.channels.pager]
type = "command"
command = ["./page", "--now"]
[alerts.channels.am]
type = "alertmanager"
url = "http://127.0.0.1:9093"
[alerts.channels.chat]
type = "apprise"
url_env = "CHAT_URL"
[alerts.deadman]
url_file = "ping"
every_sec = 30
fail_after_sec = 120
"""


def test_all_settings_are_read(tmp_path):
    found = settings_file(tmp_path, FULL).alerts
    assert (found.grace_sec, found.escalate_min, found.routes) == (30, (5, 10), (("desk",), ("desk", "mail")))
    assert found.accounts == frozenset({AccountId("Broker-Live", 70113)})
    assert {name: channel.type for name, channel in found.channels.items()} == {
        "desk": "webhook", "mail": "smtp", "pager": "command", "am": "alertmanager", "chat": "apprise",
    }  # fmt: skip
    desk = found.channels["desk"]
    assert desk.secrets["url"].file == tmp_path / "secrets" / "desk"
    assert isinstance(desk.settings, Webhook)
    assert (desk.secrets["secret"].variable, desk.settings.timeout_sec) == ("DESK_HMAC", 3)
    mail = found.channels["mail"].settings
    assert isinstance(mail, Smtp)
    assert (mail.port_used, mail.tls) == (587, "starttls")
    assert found.deadman is not None
    assert found.deadman.url.file == tmp_path / "ping"
    assert (found.deadman.every_sec, found.deadman.fail_after_sec) == (30, 120)


def test_without_settings_nobody_is_notified_and_all_channels_are_the_first_stage(tmp_path):
    assert settings_file(tmp_path, "").alerts == AlertSettings()
    two = '[alerts.channels.a]\ntype="webhook"\nurl_env="A"\n[alerts.channels.b]\ntype="webhook"\nurl_env="B"\n'
    found = settings_file(tmp_path, two).alerts
    assert (found.routes, found.grace_sec, found.escalate_min, found.deadman) == ((("a", "b"),), 60, (15, 60, 240), None)


CHANNEL = '[alerts.channels.c]\ntype = "webhook"\nurl_file = "u"\n'
MAIL = '[alerts.channels.c]\ntype="smtp"\nhost="h"\nfrom="a@b"\nto=["c@d"]\n'


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("[alerts]\ngrace = 3", r"no setting in \[alerts\] 'grace'. Did you mean grace_sec"),
        ("[alerts]\ngrace_sec = -1", r"alerts.grace_sec: expected `float` >= 0"),
        ('[alerts]\ngrace_sec = "soon"', r"alerts.grace_sec: expected `float`, got `str`"),
        ("[alerts]\nescalate_min = [60, 15]", r"escalate_min: expected minutes that rise"),
        ("[alerts]\nescalate_min = [0]", r"escalate_min.*: expected `float` > 0"),
        (f'[alerts]\nroutes = [["desk"]]\n{CHANNEL}', r"routes\[0\]: there is no channel 'desk'; there are: c"),
        (f"[alerts]\nroutes = [[]]\n{CHANNEL}", r"routes: expected names of channels by stage"),
        ('[alerts]\naccounts = ["x"]', r"SERVER/LOGIN"),
        ('[alerts.channels.c]\nurl_file = "u"', r'channels.c: expected type = "webhook|smtp|command'),
        ('[alerts.channels.c]\ntype = "sms"', r'expected type = ".*", found something else'),
        ('[alerts.channels.c]\ntype = ["sms"]', r'expected type = ".*", found something else'),
        ("[alerts.channels]\nc = 3", r'expected type = ".*", found none'),
        ('[alerts.channels."a b"]\ntype = "webhook"', r"expected a plain name"),
        ('[alerts.channels.c]\ntype = "webhook"', r'expected url_file = "FILE" or url_env = "NAME".*found neither'),
        (f'{CHANNEL}url_env = "U"', r"expected url_file or url_env, found both"),
        (f"{CHANNEL}urls = 3", r"no setting in \[alerts.channels.c\] 'urls'. Did you mean url_env"),
        (f"{CHANNEL}timeout_sec = 0", r"channels.c.timeout_sec: expected `float` > 0"),
        ('[alerts.channels.c]\ntype = "command"\ncommand = []', r"channels.c.command: expected `array` of length >= 1"),
        ('[alerts.channels.c]\ntype = "command"\ncommand = "page me"', r"channels.c.command: expected `array`, got `str`"),
        ('[alerts.channels.c]\ntype = "alertmanager"', r"expected one of url = "),
        ('[alerts.channels.c]\ntype="alertmanager"\nurl="http://h"\nurl_env="U"', r"expected one of url = "),
        (MAIL.replace("a@b", "a"), r"expected addresses as desk@example.com, found 'a'"),
        (MAIL.replace("c@d", "c@d\\nBcc: x@y"), r"expected addresses as desk@example.com"),
        (MAIL.replace('["c@d"]', "[]"), r"channels.c.to: expected addresses"),
        (f'{MAIL}user = "u"', r"expected user together with password_file or password_env"),
        (f'{MAIL}password_env = "P"', r"expected user together with password_file or password_env"),
        (f'{MAIL}user = "u"\npassword_env = "P"\ntls = "none"', r"anybody between could read the password"),
        (f'{MAIL}tls = "ssl"', r"channels.c.tls: expected one of starttls, tls, none, found something else"),
        ("[alerts.deadman]\nevery_sec = 60", r"alerts.deadman: expected url_file"),
        ("[alerts.deadman]\nurl = 'u'", r"no setting in \[alerts.deadman\] 'url'. Did you mean url_env"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(tmp_path, text, stated):
    with pytest.raises(BadValue, match=stated):
        settings_file(tmp_path, text)


def test_a_secret_in_the_place_of_its_file_is_not_shown(tmp_path):
    for text in (
        '[alerts.channels.c]\ntype = "webhook"\nurl_file = "https://hooks.example/SESAME"',
        '[alerts.channels.c]\ntype = "webhook"\nurl_env = "https://hooks.example/SESAME"',
        '[alerts.channels.c]\ntype = "webhook"\nurl = "https://hooks.example/SESAME"',
        '[alerts.deadman]\nurl_file = "https://hooks.example/SESAME"',
    ):
        with pytest.raises(BadValue) as found:
            settings_file(tmp_path, text)
        assert "SESAME" not in str(found.value) + repr(found.value)
    secret = settings_file(tmp_path, f'{CHANNEL}secret_file = "SESAME"').alerts.channels["c"].secrets["secret"]
    with pytest.raises(BadValue, match=r"alerts.channels.c.secret_file: .*cannot be read") as found:
        secret.read()
    assert "SESAME" not in f"{found.value}{secret!r}{secret}"


def test_a_secret_is_read_when_it_is_used(tmp_path, monkeypatch):
    secret = Secret(setting="s", file=tmp_path / "secret")
    for content in ("one\n", "two\r\n"):
        (tmp_path / "secret").write_bytes(content.encode())
        assert secret.read() == content.strip()
    monkeypatch.setenv("DESK", " three ")
    assert Secret(setting="s", variable="DESK").read() == "three"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_what_is_no_secret_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(BadValue, match=r"^s: "):
        Secret(setting="s", file=tmp_path / "secret").read()
    with pytest.raises(BadValue, match=r"^s: .*environment variable"):
        Secret(setting="s", variable="LEDGER_NO_SUCH_VARIABLE").read()


def test_settings_are_read_from_a_file_that_others_cannot_write(tmp_path):
    path = tmp_path / "ledger.toml"
    settings_file(tmp_path, CHANNEL)
    path.chmod(0o666)
    with pytest.raises(BadValue, match="others can write"):
        read(path)


def problem_of(table, folder):
    try:
        alert_settings.read({"channels": {"c": table}}, folder)
    except BadValue as error:
        return str(error)
    return ""


_PASTED = "Zq7secret7token"
_FIELDS = [(word, field.encode_name) for word, kind in alert_settings._TYPES.items() for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(("word", "name"), [*_FIELDS, ("webhook", "type"), ("webhook", _PASTED)])
def test_a_secret_in_the_place_of_another_setting_is_not_repeated(word, name, tmp_path):
    """Whichever setting it is pasted into. Addresses are no secrets, and are repeated."""
    table = {"type": word, name: f"https://hooks.example/{_PASTED}"}
    assert name in ("from", "to", _PASTED) or _PASTED not in problem_of(table, tmp_path)
