"""This script is how the reference pages of the manual are written from the code, so that they state what it does.

    python3 tools/dev/reference.py    # after a change of a command, a setting, an event or an error

A test compares the pages with what it would write.
"""

import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # Python looks in the folder of a script, not in the project

from tools.dev import bootstrap

FOLDER: Final = bootstrap.ROOT / "docs" / "reference"
#: Setting of ``ledger.toml`` -> what it does. A setting that is not here ends the script.
_SETTINGS: Final = {
    "journal": "URL of the journal, where no option or variable names one",
    "directory.url": "URL of the [directory](../how-to/several-servers.md) of several journals, where nothing names one",
    "gateway.url": "address of the gateway, `tcp://HOST:PORT`; or `mt5:`, a terminal in this process",
    "gateway.form": "protocol of the gateway",
    "gateway.timeout_ms": "milliseconds that each request may take",
    "gateway.server_key": "CURVE: file with the public key of the gateway",
    "gateway.client_key": "CURVE: file with our own secret key",
    "gateway.insecure": "allow an unencrypted connection to another machine",
    "gateway.terminal": "with `mt5:`: program of the terminal; without it the module chooses one",
    "sync.interval_sec": "seconds between two syncs of the daemon; 15 without it",
    "derived.segments": "folder of the [segments](../explanation/why-it-is-fast.md#segments) of a journal on Postgres, of no "
    "other one; a SQLite journal has them beside it",
    "derived.follow": "whether the daemon brings the [derived tables](../explanation/derived-tables.md) up to date",
    "marks.keep_days": "days for which it is known what each account was worth, sync by sync",
    "metrics.journal": "whether a daemon serves the journal's metrics beside its own; false where `ledger metrics` does",
    "page.port": "port on which it listens; 0 for a free one",
    "page.hosts": "list of names that a browser calls it by; the first is in links, `desk.localhost` without any",
    "page.listen": "address to listen on instead of this machine's own; needs TLS or a trusted proxy",
    "page.socket": "Unix socket to listen on instead of a port, for a proxy that signs people in",
    "page.socket_group": "group that may connect to the socket, as that of the proxy; without it only who runs the page",
    "page.cert": "file of certificates for TLS, in PEM",
    "page.key": "file with their secret key",
    "page.proxy_secret_file": "file with what a trusted proxy sends as `X-Ledger-Proxy-Secret`",
    "page.allow_writes": "whether anything but reading is possible",
    "page.writer": "URL of the journal with the role that may append, where `journal` has the one that reads",
    "page.operators": 'table of persons and their roles: `ann = "approver"`. Where there are any, nobody else gets a link',
    "page.groups": "table of the groups of the single sign-on and their roles",
    "page.access_log": "file for sign-ins and reads; standard error without it",
    "page.folder": "folder where links wait until they are used; only its owner may read it",
    "page.link_min": "minutes that a link can be used",
    "page.session_hours": "hours that somebody is signed in at most",
    "page.idle_min": "minutes without a request that end a sign-in",
    "fleet.lease_sec": "seconds that the lease of a worker's account lasts without being renewed: [Sync thousands of accounts]"
    "(../how-to/sync-thousands-of-accounts.md)",
    "fleet.grace_sec": "seconds that an account which is due is left to the worker that has it in memory",
    "fleet.threads": "syncs at once, of each worker",
    "fleet.warm_accounts": "accounts that stay in memory, of each worker",
    "upkeep.verify_hours": "hours after which `doctor` warns, and `ledger alert` notifies, that the journal was not verified",
    "upkeep.seal_hours": "hours after which `doctor` warns that the last seal is old",
    "upkeep.backup_hours": "hours after which `doctor` warns that the last good backup is old",
    "seal.key": "file with the secret key to seal with",
    "approvals.keys": "operator -> file of the public key of that person, or a list of files: [Two persons decide]"
    "(../how-to/two-persons.md#sign-decisions)",
    "alerts.grace_sec": "what is over within so many seconds is not reported",
    "alerts.escalate_min": "list of ages in minutes at which a notice goes on to the next stage",
    "alerts.routes": "lists of channels, one by stage; without it all channels are the first. Behind the last it is the last",
    "alerts.accounts": "list of accounts: only these; all without it",
    "channel.timeout_sec": "seconds that the receiver may take",
    "channel.url_file": "file that holds the URL",
    "channel.url_env": "variable of the environment that holds the URL",
    "channel.url": "the URL, where it holds no secret",
    "channel.secret_file": "file that holds the secret to sign with (HMAC-SHA256)",
    "channel.secret_env": "variable of the environment that holds it",
    "channel.host": "the mail server",
    "channel.from": "address of the sender",
    "channel.to": "list of addresses of the recipients",
    "channel.port": "587 for `starttls`, 465 for `tls`, 25 for `none` without it",
    "channel.tls": "how the connection is encrypted: by STARTTLS, from the beginning, or not",
    "channel.ca_file": "certificates to trust instead of the system's",
    "channel.user": "who signs in",
    "channel.password_file": "file that holds the password",
    "channel.password_env": "variable of the environment that holds it",
    "channel.command": "list of the program and its arguments; no shell reads them",
    "deadman.url_file": "file that holds the URL",
    "deadman.url_env": "variable of the environment that holds the URL",
    "deadman.every_sec": "seconds between two signs of life",
    "deadman.fail_after_sec": "seconds that an account may be unsafe before `/fail` is sent",
    "deadman.timeout_sec": "seconds that the receiver may take",
}
#: What a setting of the policy may be, where its type does not state it.
_POLICY_VALUES: Final = {
    "balance": "`report`, `halt`",
    "magics": "list of magic numbers",
    "vanish_share": "share, 0.5 for half",
}
#: What a setting of a monitor may be, where its type does not state it.
_MONITOR_VALUES: Final = {
    "daily_loss": 'amount or `"5%"`',
    "day": "`server` or a zone",
    "day_start": "time of day",
    "max_drawdown": 'amount or `"10%"`',
    "initial_balance": "amount",
    "warn_at": "percent",
    "unsafe_on_breach": "`true`, `false`",
}
#: What of an event is known again, where it is not a digest of its content: natural key -> events, and what a later one means.
_NATURAL_KEYS: Final = (
    ("`deal:DEAL`", "every record of a deal", "`DealCompleted`, `DealRevised`, or it is refused"),
    ("`account`", "`AccountOpened`", "refused"),
    ("`identity`", "`GatewayIdentified`", "it is recorded once"),
    ("`symbol:SYMBOL`", "`SymbolSpecified`", "the broker changed the specification"),
    ("`order:CLIENT`", "`OrderIntended`, `OrderDenied`", "refused: a client id is used once"),
    ("`order:CLIENT:answer`", "`OrderAnswered`", "refused: later findings are `OrderResolved`"),
    ("`order:CLIENT:resolved:N`", "`OrderResolved`", "refused: N counts the resolutions"),
    ("`order:TICKET:seen`", "`OrderSeen`", "the broker shows the order otherwise than before"),
    ("`stops:POSITION`", "`StopsSeen`", "the broker shows other stops than before"),
    ("`limits`", "`LimitsSet`", "other limits than before"),
    ("`halt:SCOPE:N`", "`TradingHalted`, `TradingResumed`", "refused: N counts both together"),
    (
        "`approval:...`",
        "`CorrectionProposed`, `CorrectionDecided`, `PolicySet`, `BreakNoted`",
        "recorded already: a digest of all of it",
    ),
    ("`pin:N`", "`StorePinned`", "refused: N counts them"),
)
_LINE: Final = 100
_SECTION: Final = re.compile(r"^(?:Args|Attributes|Raises):$")
_ENTRY: Final = re.compile(r"^ {4}(\w+): (.*)$")
#: Module -> title of its part of the Python API, in the order of the page. Events and errors have pages of their own.
_PARTS: Final = {
    "service": "Ledger and accounts",
    "directory": "Several journals",
    "reconciler": "Reconciler",
    "gateway.open": "Gateway",
    "gateway.metatrader5": "A terminal in the same process",
    "portfolio": "Portfolio",
    "views": "What a portfolio shows",
    "order_manager": "Order manager",
    "orders.request": "What an engine asks for",
    "orders.policy": "How orders are sent and resolved",
    "orders.limits": "Limits, and what their check returns",
    "orders.view": "Orders",
    "orders.states": "States of orders",
    "proposals": "Corrections that two persons decide",
    "approvals": "What is proposed and decided",
    "engines": "Adapters for existing engines",
    "journal": "What an append returns",
    "snapshot": "What a gateway reported",
    "values": "Values",
    "clock": "Clock",
    "incidents": "Incidents",
    "causes": "Causes",
}


def pages() -> dict[str, str]:
    """Return the pages: file name -> text."""
    return {
        "commands.md": "\n".join(_commands()),
        "configuration.md": "\n".join(_configuration()),
        "errors.md": "\n".join(_errors()),
        "events.md": "\n".join(_events()),
        "page-api.md": "\n".join(_page_api()),
        "python-api.md": "\n".join(_python_api()),
    }


def main() -> int:
    """Write the pages."""
    bootstrap.enter(bootstrap.DEV_LOCK)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(f"written: {FOLDER / name}")
    return 0


def _page_api() -> Iterator[str]:
    from ledger.page.routes import ENDPOINTS

    yield from _head(
        "HTTP of the page",
        "What the operator's page asks its own server for. The answers are the objects that the commands print with "
        "`--json`, or objects of them; `/api/openapi.json` describes each member (OpenAPI 3.1), made of the same table as "
        "this page.\n\n"
        "Everything needs a sign-in, by the cookie of the page or by a trusted proxy. What is recorded needs the role beside "
        "it, `--allow-writes`, `Content-Type: application/json`, `Sec-Fetch-Site: same-origin`, and the token of "
        "`/api/session` as `X-Ledger-Csrf`.",
    )
    yield from _table(
        ("method", "path", "answer", "role", "parameters"),
        [
            (
                one.method, f"`{one.path}`", one.summary, one.role.value,
                ", ".join(f"`{each.name}`" for each in one.parameters),
            )
            for one in ENDPOINTS
        ],
    )  # fmt: skip
    yield from (
        "`/api/stream` sends server-sent events, one stream for each browser: `hello`, then `changed` with",
        '`{"server", "login", "version"}` for each account that was appended to, and `beat` every five seconds. Who comes back',
        "with `Last-Event-ID` gets what changed since, one event for each account; `hello` has `resumed: false` where that is",
        "not known, and then anything may have changed.",
        "",
    )
    yield from _table(
        ("status", "meaning"),
        [
            ("202", "`{job, done, of}`: a long history is read. Ask `/api/jobs/JOB` until it answers 200, then ask again."),
            ("400", "A parameter or member is not understood: the text has what was expected."),
            ("403", "Whoever is signed in may not do this, or the page only reads."),
            ("404", "There is no such account, event, break or job."),
            ("409", "A rule of the ledger is in the way, as of a proposal that lapsed."),
            ("422", "What is stored of an account cannot be read: `error` has `account` and `version`. Others work on."),
            (
                "429",
                "Too much at once: more than four long readings, or two of one person; a statement of more than five seconds. "
                "The text has what to narrow.",
            ),
            ("503", "The journal is busy or away: try again after `Retry-After` seconds."),
        ],
    )
    yield 'Every error is `{"error": {"code", "text", "retryable"}}`. Lists end at 500 rows, charts at 2,000 columns; `next`'
    yield "of a list is the `before` of the one behind it."
    yield ""


def _head(title: str, text: str) -> list[str]:
    return ["<!-- Written by tools/dev/reference.py; a change here is lost. -->", "", f"# {title}", "", text, ""]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, with an empty one behind it."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _prose(text: str) -> str:
    """Return a docstring's sentence as Markdown: its names as code, what is none of HTML as it is."""
    return text.replace("``", "`").replace("<", "&lt;")


# -------------------------------------------------------------------------------------------------------------- commands


def _commands() -> Iterator[str]:
    import click

    from ledger.cli import COMMANDS, cli

    yield from _head(
        "Commands",
        "Options that several commands have: `--journal` and `--config` may come before or after the command. `ledger "
        "COMMAND --help` prints what is written here.",
    )
    yield from _table(
        ("command", ""), [(f"[`{name}`](#ledger-{name})", f"{_prose(line)}") for name, (_, line) in COMMANDS.items()]
    )
    context = click.Context(cli, info_name="ledger")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=name, parent=context), 2)


def _command(command: Any, context: Any, level: int) -> Iterator[str]:
    import click

    yield f"{'#' * level} {context.command_path}"
    yield ""
    yield from ("```text", f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    yield from _help(command.help or "")
    records = [option.get_help_record(context) or ("", "") for option in command.get_params(context)]
    own = [(f"`{names}`", _prose(text)) for names, text in records if text and "--help" not in names]
    if own:
        yield from _table(("option", "meaning"), own)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, click.Context(below, info_name=name, parent=context), level + 1)


def _help(text: str) -> Iterator[str]:
    """Yield a help text as Markdown: what click leaves as it is (marked by a backspace) as a block, the rest as prose."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield from ("```text", paragraph.removeprefix("\b").strip("\n"), "```", "")
        else:
            yield from (_prose(" ".join(paragraph.split())), "")


# --------------------------------------------------------------------------------------------------------- configuration


def _configuration() -> Iterator[str]:
    import msgspec

    from ledger import config
    from ledger.orders.monitor_values import MonitorRules
    from ledger.reconcile.policy import ReconcilePolicy

    yield from _head(
        "Configuration",
        "Settings that do not change are in `ledger.toml`. A command reads the file that `--config FILE` names, else the one "
        "in the folder of its SQLite journal. Paths in it are relative to its folder. It is refused if others than its owner "
        "may write to it, and so is a setting that does not exist. An option of the command line counts before a variable of "
        "the environment, and that before the file; only the `url` for one account counts before `GTW_HOST` and `GTW_PORT`.",
    )
    file = {one.name: one for one in msgspec.structs.fields(config._File)}  # noqa: SLF001  # the file's layout is documented here
    tables = {
        name: one.type for name, one in file.items() if name not in ("gateways", "policy", "monitors") and _is_table(one.type)
    }
    yield from ("## Top level", "", *_settings("", [one for name, one in file.items() if name == "journal"]))
    for name, struct in tables.items():
        yield from (f"## [{name}]", "")
        if name == "gateway":
            yield '`[gateways."SERVER/LOGIN"]` has the same settings for the gateway of one account; they count before these.'
            yield ""
        yield from _settings(f"{name}.", msgspec.structs.fields(struct))
        if name == "directory":
            what = "`[journals]` has name = URL, of journals of the directory that are opened by another URL on this machine."
            yield from (what, "")
    yield from ("## [policy]", "", "What the reconciler does about a disagreement, and how sure it has to be.", "")
    yield from _documented(ReconcilePolicy, _POLICY_VALUES)
    yield from ('## [monitors."SERVER/LOGIN"]', "")
    page = "[Watch the limits of a funded account](../how-to/funded-accounts.md)"
    yield from (f"What an account may lose: {page}. Amounts are text, or whole numbers.", "")
    yield from _documented(MonitorRules, _MONITOR_VALUES)
    yield from _alerts()
    yield from ("## Environment", "")
    yield from _table(
        ("variable", "meaning"),
        [
            ("`LEDGER_JOURNAL`", "URL of the journal"),
            ("`GTW_HOST`, `GTW_PORT`", "address of the gateway; without one of them 127.0.0.1 and 5555"),
            ("`GTW_TIMEOUT_MS`", "milliseconds that each request may take"),
            ("`SYNC_INTERVAL_SEC`", "seconds between two syncs (default 15)"),
            ("`LEDGER_SEAL_KEY`", "secret key to seal with"),
            ("`LEDGER_OPERATOR_KEY`", "secret key of the operator, to sign approvals with"),
            ("`NO_COLOR`", "print without colours"),
        ],
    )


def _alerts() -> Iterator[str]:
    import msgspec

    from ledger import alert_settings

    yield from ("## [alerts]", "", "Whom `ledger alert` notifies, and when.", "")
    tables, fields = ("channels", "deadman"), msgspec.structs.fields
    yield from _settings("alerts.", [one for one in fields(alert_settings._Alerts) if one.name not in tables])  # noqa: SLF001
    for word, kind in alert_settings._TYPES.items():  # noqa: SLF001
        yield from (f'### [alerts.channels.NAME] with type = "{word}"', "", _prose((kind.__doc__ or "").strip()), "")
        yield from _settings("channel.", fields(kind))
    yield from ("### [alerts.deadman]", "", "The dead-man's switch.", "")
    yield from _settings("deadman.", fields(alert_settings._Deadman))  # noqa: SLF001


def _settings(prefix: str, fields: Sequence[Any]) -> Iterator[str]:
    rows = [
        (f"`{one.encode_name}`", f"`{_type(one.type)}`", _default(_made(one)), _SETTINGS[f"{prefix}{one.encode_name}"])
        for one in fields
    ]
    return _table(("setting", "type", "default", "meaning"), rows)


def _made(field: Any) -> Any:
    """Return the default of a setting, also of one that is made anew each time."""
    return field.default_factory() if callable(field.default_factory) else field.default


def _documented(described: Any, values: Mapping[str, str]) -> Iterator[str]:
    """Return the table of settings that a class has as attributes."""
    import attrs

    meanings = _attributes(described)
    rows = [
        (f"`{one.name}`", _values(one, values), _default(one.default), _prose(meanings[one.name]))
        for one in attrs.fields(described)
    ]
    return _table(("setting", "values", "default", "meaning"), rows)


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation.__module__ in ("ledger.config", "ledger.page_settings")


def _values(field: Any, values: Mapping[str, str]) -> str:
    """Return what a setting may be."""
    if field.name in values:
        return values[field.name]
    if isinstance(field.default, Enum):
        return ", ".join(f"`{one.value}`" for one in type(field.default))
    return "seconds" if field.name.endswith("_sec") else "number"


def _default(value: Any) -> str:
    import msgspec

    if value in (None, msgspec.NODEFAULT, msgspec.UNSET):
        return ""
    return f"`{getattr(value, 'value', value)}`".replace("True", "true").replace("False", "false")


def _attributes(documented: Any) -> dict[str, str]:
    """Return what a docstring states about its class's attributes: name -> text."""
    return next(rows for title, rows in _sections(inspect.getdoc(documented) or "") if title == "Attributes")


def _sections(docstring: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the lists of a docstring, as Args and Raises: title, and name -> text."""
    title, rows, name = "", dict[str, str](), ""
    for line in [*docstring.splitlines(), ""]:
        begun = _ENTRY.match(line)
        if _SECTION.match(line):
            title, rows, name = line[:-1], {}, ""
        elif title and begun:
            name = begun[1]
            rows[name] = begun[2]
        elif title and name and line.startswith(" "):
            rows[name] += f" {line.strip()}"
        elif title and name:
            yield title, rows
            title = ""


# ---------------------------------------------------------------------------------------------------------------- errors


def _errors() -> Iterator[str]:
    from ledger import errors
    from ledger.cli import exit_code

    yield from _head(
        "Errors and exit codes",
        "Everything that the library raises on purpose is a `LedgerError`. *Retryable* means that the same call may succeed "
        "later without any change. The exit code is the one that a command ends with.",
    )
    yield from ("## Exit codes", "")
    yield from _table(
        ("code", "meaning"),
        [
            ("0", "fine"),
            ("1", "a disagreement, or a failed verification"),
            ("2", "wrong use, or bad input"),
            ("3", "unavailable: try again"),
            (
                "4",
                "proposed: a second person has to approve it, nothing is corrected yet (`correct`, `policy set`, `account`)",
            ),
            ("70", "a fault of the ledger itself; please report it"),
            ("130", "interrupted"),
            ("141", "whoever read the output has closed it"),
        ],
    )
    yield from ("`ledger status --check` has codes of its own, listed with [the command](commands.md#ledger-status).", "")
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.LedgerError)]
    for group in (one for one in classes if one.__bases__ == (errors.LedgerError,)):
        yield from (f"## {group.__name__}", "", _prose(_first_paragraph(group)), "")
        rows = []
        for error in (one for one in classes if one.__bases__ == (group,)):
            instance = error.__new__(error)
            rows.append(
                (
                    f"`{error.__name__}`",
                    _prose(_first_paragraph(error)),
                    "yes" if error.retryable else "no",
                    str(exit_code(instance)),
                )
            )
        yield from _table(("error", "meaning", "retryable", "exit code"), rows)


def _first_paragraph(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


# ---------------------------------------------------------------------------------------------------------------- events


def _events() -> Iterator[str]:
    from ledger.codec import KINDS
    from ledger.events import AcceptedResult, PositionState

    yield from _head(
        "Events",
        "The immutable facts and conclusions that a journal holds. A name that ends in `_msc` is a time in milliseconds of the "
        "broker server's clock. Volumes are in lots and without a sign, money is in the account's currency. A field that may "
        "be empty is `None` where its value is not known, never 0. `caused_by` is the version of the event that an event "
        "follows from, `evidence` the SHA-256 of the broker's raw answer (`ledger log --evidence` prints it).",
    )
    yield from (
        "## How an event is known again",
        "",
        "Recording an event again changes nothing, because each has a *natural key* in its account (`natural_key` in `ledger "
        "log --json`). The same content under the same key is a duplicate. Other content is the next record of the same, "
        "numbered behind a `#` (`order:557416535:seen#2`), or it is refused.",
        "",
    )
    yield from _table(("natural key", "event", "with other content"), _NATURAL_KEYS)
    yield from ("Every other event is known by a digest of its content.", "")
    modules: dict[str, list[tuple[Any, int]]] = {}
    for cls, schema in KINDS.values():
        modules.setdefault(cls.__module__, []).append((cls, schema))
    for module, classes in modules.items():
        yield from (f"## {module.rpartition('.')[2].capitalize()}", "")
        yield from (_prose(_first_paragraph(sys.modules[module])), "")
        for cls, schema in classes:
            yield from _fields(cls, f"Schema version {schema}.")
    yield from ("## Parts of events", "")
    for part in (PositionState, AcceptedResult):
        yield from _fields(part)


def _fields(cls: Any, *further: str) -> Iterator[str]:
    """Yield the section of an event, or of a part of one: what its docstring states, and its fields."""
    import attrs

    yield from (f"### {cls.__name__}", "")
    for paragraph in [*(inspect.getdoc(cls) or "").split("\n\n"), *further]:
        yield from (_prose(" ".join(paragraph.split())), "")
    rows = [(f"`{one.name}`", f"`{_type(one.type)}`", _needed(one)) for one in attrs.fields(cls)]
    yield from _table(("field", "type", ""), rows)


def _needed(field: Any) -> str:
    import attrs

    if field.default is attrs.NOTHING:
        return "required"
    return "may be empty" if field.default is None else "has a default"


def _type(annotation: Any) -> str:
    """Return a type as a reader writes it."""
    if isinstance(annotation, str):
        return annotation.replace(" | None", "")
    if typing.get_origin(annotation) is typing.Annotated:
        return _type(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(map(str, typing.get_args(annotation)))
    arguments = [one for one in typing.get_args(annotation) if one is not type(None)]
    if arguments:
        return ", ".join(map(_type, arguments))
    return str(getattr(annotation, "__name__", annotation))


# ------------------------------------------------------------------------------------------------------------ Python API


def _python_api() -> Iterator[str]:
    import ledger

    yield from _head(
        "Python API",
        "Everything here is imported from `ledger`. [Events](events.md) and [errors](errors.md) are imported from there too.",
    )
    for module, title in _PARTS.items():
        yield from (f"## {title}", "")
        for name in ledger._HOMES[module]:  # noqa: SLF001  # the one list of what is public
            yield from _api_of(name, getattr(ledger, name))


def _api_of(name: str, public: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    if inspect.isfunction(public):
        yield from ("```text", f"{name}{_signature(public)}", "```", "")
    yield from _documentation(public)
    if not isinstance(public, type):
        return
    if issubclass(public, Enum):
        yield from (", ".join(f"`{one.name}`" for one in public), "")
        return
    for member, value in vars(public).items():
        function = getattr(value, "__func__", value)
        if member.startswith("_") or not (isinstance(value, property) or inspect.isfunction(function)):
            continue
        documented = value.fget if isinstance(value, property) else function
        yield from (f"#### {name}.{member}", "")
        if not isinstance(value, property):
            yield from ("```text", f"{member}{_signature(function)}", "```", "")
        yield from _documentation(documented)


def _signature(function: Any) -> str:
    """Return a function's parameters as a reader writes them, one line each where they are many."""
    signature = inspect.signature(function)
    words, is_marked = [], False
    for one in signature.parameters.values():
        if one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not is_marked:
            words.append("*")
        is_marked = is_marked or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
        kind = "" if one.annotation is one.empty else f": {_annotation(one.annotation)}"
        default = "" if one.default is one.empty else f" = {_value(one.default)}"
        words.append(f"{stars}{one.name}{kind}{default}")
    returned = "" if signature.return_annotation is signature.empty else f" -> {_annotation(signature.return_annotation)}"
    line = f"({', '.join(words)}){returned}"
    return line if len(line) < _LINE else "(\n    " + ",\n    ".join(words) + f",\n){returned}"


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))


def _value(default: Any) -> str:
    """Return a default as a reader writes it: what is no plain value by its name or its type."""
    if default is None or isinstance(default, (bool, int, float, str, tuple)):
        return repr(default)
    return str(getattr(default, "__name__", f"{type(default).__name__}()"))


def _documentation(documented: Any) -> Iterator[str]:
    """Yield a docstring: its prose, and its lists as tables."""
    docstring = inspect.getdoc(documented) or ""
    for paragraph in docstring.split("\n\n"):
        if not _SECTION.match(paragraph.partition("\n")[0]):
            yield from (_prose(" ".join(paragraph.split())), "")
    for title, rows in _sections(docstring):
        names = {"Args": "argument", "Raises": "raises", "Attributes": "attribute"}
        yield from _table((names[title], ""), [(f"`{name}`", _prose(text)) for name, text in rows.items()])


if __name__ == "__main__":
    sys.exit(main())
