"""What is named as a journal: a URL is never mistaken for a path, and what is shown of one shows no secret in any position."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from psycopg import OperationalError

from ledger import BadValue, Ledger, LedgerError
from ledger.journal.sql.engine import open_engine, translate_errors
from ledger.journal.sql.urls import journal_url, redacted, shown, sqlite_path

SECRET = "S3cr3t"  # noqa: S105  # none
#: What may surround a secret in a URL, characters that end its parts included.
_marks = st.text("ab1@:/?#&=%[]. ", max_size=6)
_words = st.text("abc1_", min_size=1, max_size=5)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql//user:pw@host/db",
        "postgresql:/user:pw@host/db",
        "postgresql:user:pw@host/db",
        "postgres:desk",
        "sqlite//x",
        "sqlite:x.db",
        "sqlite:/x.db",
        "sqlite://x.db",
        "sqlite:///x?y.db",
        "sqlite:///x.db?mode=ro",
        "sqlite:///file:x.db",
        "sqlite:///sqlite:///x.db",
        "http:/..",
        "https://example.com/desk.db",
        "file:desk.db",
        "file:///desk.db",
        "memory:",
        "memory://x",
        "user:pw@host/db",
        "//user:pw@host/db",
        "x.db\0",
        " ",
    ],
)
def test_what_looks_like_a_url_is_never_a_path(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for make in (Ledger.open, Ledger.create):
        with pytest.raises(BadValue, match=r"a journal is sqlite:///FILE|a SQLite journal"):
            make(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["x?y.db", "a#b.db", "a%20b.db", "a%3Fb.db", "100%.db", "a b.db", "ü.db", "a&b=c.db", "desk", "me@home.db", "a'b.db", "-x"],
)
def test_a_path_names_exactly_its_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given_ in (name, str(tmp_path / name), *([f"sqlite:///{name}"] if "?" not in name else [])):
        Ledger.create(given_).close()
        Ledger.open(given_).close()
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Ledger.create("sqlite:///~/desk.db").close()
    Ledger.open("~/desk.db").close()
    assert [path.name for path in tmp_path.iterdir()] == ["desk.db"]
    with pytest.raises(BadValue, match="no home folder"):
        Ledger.create("~nobody-knows-me/desk.db")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ann:S3cr3t@host:5433/desk", "postgresql+psycopg://ann:***@host:5433/desk"),
        (
            "postgresql://ann@host/desk?password=S3cr3t&sslmode=require",
            "postgresql+psycopg://ann@host/desk?***&sslmode=require",
        ),
        ("postgresql://host/desk?sslpassword=S3cr3t", "postgresql+psycopg://host/desk?***"),
        ("postgresql://host/desk?pass%77ord=S3cr3t", "postgresql+psycopg://host/desk?***"),
        ("sqlite:////var/lib/desk.db", "sqlite:////var/lib/desk.db"),
        ("desk.db", "sqlite:///desk.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(text, expected):
    assert shown(journal_url(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql//ann:S3cr3t@host/desk", "postgresql//ann:***@host/desk"),
        ("postgresql://ann:pa@S3cr3t@host/desk", "postgresql://***@host/desk"),
        ("postgresql://ann:S3cr3t@host:port/desk", "postgresql://ann:***@host:***/desk"),
        ("postgresql://ann:S3cr3t-host/desk", "postgresql://ann:***/desk"),
        ("ann:S3cr3t@host/desk", "ann:***@host/desk"),
        ("desk.db", "desk.db"),
    ],
)
def test_what_is_no_url_is_shown_without_its_secrets_too(text, expected):
    assert redacted(text) == expected


def everything_reported(error):
    """What of an error reaches a log or a terminal, tracebacks with all that led to it included."""
    return "".join((str(error), repr(error), *traceback.format_exception(error)))


def _position(draw):
    """A URL, rightly or wrongly written, with a secret in one of its positions."""
    secret = SECRET + draw(_marks)
    spelled = draw(st.sampled_from([secret, quote(secret, safe="")]))
    user, host, database = draw(_words), draw(_words), draw(_words)
    scheme = draw(st.sampled_from(["postgresql", "postgresql+psycopg", "postgres", "mysql", "sqlite"]))
    mark = draw(st.sampled_from(["://", "//", ":", ":/"]))
    option = draw(
        st.sampled_from(["password", "sslpassword", "passfile", "options", "pass%77ord", "Password", "x", "sslmode", "port"])
    )
    return draw(
        st.sampled_from(
            [
                f"{scheme}{mark}{user}:{spelled}@{host}/{database}",
                f"{scheme}{mark}{user}:{spelled}@{host}:5432/{database}?sslmode=require",
                f"{scheme}{mark}{user}:x@{host}:{spelled}/{database}",
                f"{scheme}{mark}:{spelled}@{host}/{database}",
                f"{scheme}{mark}{user}@{host}/{database}?{option}={spelled}",
                f"{scheme}{mark}{user}@{host}/{database}?sslmode=require&{option}={spelled}&port=1",
                f"{scheme}{mark}{user}@{host}/{database}?{spelled}",
                f"{user}:{spelled}@{host}/{database}",
                f"//{user}:{spelled}@{host}/{database}",
            ]
        )
    )


@given(st.composite(_position)())
@example(f"postgresql://u:{SECRET}@127.0.0.1:1/db?sslmode={SECRET}")
@example(f"postgresql://u@127.0.0.1:1/db?port={SECRET}")
@example(f"postgresql://u@127.0.0.1:1/db?connect_timeout={SECRET}")
def test_no_error_and_no_representation_shows_a_secret(text):
    assume("://" in text or "@" in text)
    assert SECRET not in redacted(text)
    url, engine, refused = parsed(text)
    if refused is not None:
        assert SECRET not in everything_reported(refused)
        return
    if sqlite_path(url) is not None:  # a secret in the name of a file is the name of a file
        return
    assert SECRET not in "".join((shown(url), repr(engine), repr(engine.url), str(engine.url), shown(engine.url)))
    assert journal_url(engine.address()) == url
    for repeated in (*(str(value) for value in url.query.values()), str(url.password)):
        with pytest.raises(LedgerError) as passed_on, translate_errors(engine.url):
            raise OperationalError(f"invalid value: {repeated}")
        assert SECRET not in everything_reported(passed_on.value)
    engine.dispose()


def parsed(text):
    """Return URL and engine of a text, or what refused it."""
    try:
        return journal_url(text), open_engine(text), None
    except LedgerError as error:
        return None, None, error


@pytest.mark.parametrize(
    "options",
    [
        "sslmode=S3cr3t",
        "port=S3cr3t",
        "connect_timeout=S3cr3t",
        "nonsense=S3cr3t",
        "password=S3cr3t",
        "sslcert=/S3cr3t",
        "gssencmode=S3cr3t",
    ],
)
def test_what_the_driver_reports_about_a_bad_option_shows_no_secret(options):
    """Libpq repeats what it does not understand."""
    url = f"postgresql://u:S3cr3t@127.0.0.1:1/db?{options}"
    with pytest.raises(LedgerError) as refused:
        Ledger.open(url)
    assert "S3cr3t" not in everything_reported(refused.value)
