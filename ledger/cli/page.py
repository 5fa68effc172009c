"""The command ``page``: serves the operator's page, and makes links that sign people in."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click
from attrs import evolve

from ledger.cli.options import configuration, journal_option, journal_url
from ledger.cli.output import print_line
from ledger.cli.streams import complain
from ledger.errors import BadValue
from ledger.page_settings import HOST, PageSettings, Role, host_name, person_name
from ledger.systemd import SystemdNotifier

if TYPE_CHECKING:  # starlette and uvicorn belong to an extra
    from ledger.metrics.server import MetricsServer
    from ledger.page.security.links import Link
    from ledger.page.source import Source
    from ledger.service import Ledger

_NEEDED: Final = ("starlette", "uvicorn")
_ROLES: Final = [role.value for role in Role]
#: Set where the output goes into the log of systemd.
_IN_SYSTEM_LOG: Final = "JOURNAL_STREAM"
_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group("page", invoke_without_command=True, short_help="Serve the operator's page: see, go back in time, decide.")
@journal_option
@click.option(
    "--port", type=click.IntRange(0, 65_535), metavar="N", help="Port to listen on; 0 for a free one. (default: 8077)"
)
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Name that browsers call it by (repeatable); first in links."
)
@click.option("--listen", metavar="ADDR", help="Listen on this address instead of this machine's own; needs TLS or a proxy.")
@click.option("--socket", "unix_socket", metavar="FILE", type=_FILE, help="Listen on a Unix socket, for a proxy.")
@click.option("--cert", metavar="FILE", type=_FILE, help="Certificates for TLS, in PEM.")
@click.option("--key", metavar="FILE", type=_FILE, help="Their secret key.")
@click.option("--proxy-secret-file", metavar="FILE", type=_FILE, help="What a trusted proxy sends as X-Ledger-Proxy-Secret.")
@click.option("--allow-writes", is_flag=True, help="Let people decide, by their roles; without it the page only reads.")
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Print a link for this person (repeatable).")
@click.option("--role", type=click.Choice(_ROLES), help="Role of whom [page.operators] does not name.")
@click.option("--metrics", metavar="HOST:PORT", help="Serve the metrics of the journal at http://HOST:PORT/metrics, too.")
@click.option("--access-log", metavar="FILE", type=_FILE, help="Sign-ins and reads, as lines of JSON; else standard error.")
@click.pass_context
def page(
    ctx: click.Context,
    /,
    journal: str | None,
    operators: tuple[str, ...],
    role: str | None,
    metrics: str | None,
    **options: Any,
) -> None:
    """Serve a page for browsers of this machine, and print the link that signs you in, once.

    It only reads unless --allow-writes. Each person signs in with a link of their own, in a browser of their own:
    "ledger page link" makes one while the page runs. Needs the extra: pip install 'mt5-position-ledger[page]'

    \b
    Examples:
      ledger page
      ledger page --allow-writes --operator ann --operator bob
      ledger page link --operator bob --role approver
      ledger page --socket /run/ledger/page.sock --host desk.example.com

    \b
    ledger.toml in the folder of a SQLite journal, or another file with --config:
      [page]
      allow_writes = true
      [page.operators]
      ann = "approver"                        viewer, operator, approver or admin
      bob = "operator"
    """
    ctx.obj.page_options = options
    if ctx.invoked_subcommand is not None:
        return
    settings = _settings(options)
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise BadValue(
            f"the page needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'mt5-position-ledger[page]'"
        )
    _serve(journal, settings, _people(settings, operators, role), metrics)


@page.command("link", short_help="Print a link that signs a person in, once, while the page runs.")
@journal_option
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", help="Port of the page. (default: 8077)")
@click.option("--socket", "unix_socket", metavar="FILE", type=_FILE, help="Unix socket of the page.")
@click.option("--operator", metavar="NAME", help="For whom. (default: your login name)")
@click.option("--role", type=click.Choice(_ROLES), help="In which role; at most that of [page.operators].")
@click.pass_context
def link(ctx: click.Context, /, journal: str | None, operator: str | None, role: str | None, **options: Any) -> None:  # noqa: ARG001
    """Print a link that signs a person in, once, while the page runs.

    Call it as the user who runs the page, and open the link in that person's own browser.

    \b
    Examples:
      ledger page link --operator bob --role approver
      ledger page link --port 8078
    """
    from ledger.page.security.links import Links, folder_of, running_url

    settings = _settings(ctx.obj.page_options | {name: value for name, value in options.items() if value is not None})
    folder = folder_of(settings, settings.port)
    url = running_url(folder)
    if url is None or not _answers(settings):
        where = f"the socket {settings.socket}" if settings.socket else f"port {settings.port}"
        raise BadValue(f"no page of this user runs on {where}: start one with ledger page, or name its --port")
    made = _link(settings, operator or getpass.getuser(), role)
    print_line(f"{url}/#token={Links(folder).make(made, settings.link_min)}")
    complain(_about(made, settings))


def _settings(options: dict[str, Any]) -> PageSettings:
    """Return the settings of the file, with what options name instead."""
    found = {name: value for name, value in options.items() if value is not None and value is not False and value != ()}
    if "unix_socket" in found:
        found["socket"] = found.pop("unix_socket")
    if "hosts" in found:
        found["hosts"] = tuple(host_name(one) for one in found["hosts"])
    return evolve(configuration().page, **found)


def _link(settings: PageSettings, name: str, role: str | None) -> Link:
    """Return whom a link shall sign in, and in which role.

    Raises:
        BadValue: The settings do not allow it.
    """
    from ledger.page.security.links import Link

    written, most = settings.operator(person_name(name))
    if most is None and settings.operators:
        raise BadValue(
            f"{written} is not in [page.operators] of ledger.toml, which names everybody who may sign in: "
            f"{', '.join(settings.operators)}"
        )
    wanted = Role(role) if role is not None else None
    if most is not None and wanted is not None and wanted > most:
        raise BadValue(f"{written} has the role {most.value} in [page.operators] of ledger.toml, not {wanted.value}")
    otherwise = Role.OPERATOR if settings.allow_writes else Role.VIEWER
    return Link(written, wanted or most or otherwise)


def _people(settings: PageSettings, operators: tuple[str, ...], role: str | None) -> list[Link]:
    """Return for whom links are printed: who is named, else whoever starts the page, where people sign in by links."""
    if operators:
        return [_link(settings, name, role) for name in dict.fromkeys(operators)]
    me = getpass.getuser()
    is_mine = settings.socket is None and settings.proxy_secret_file is None and _IN_SYSTEM_LOG not in os.environ
    is_known = not settings.operators or settings.operator(me)[1] is not None
    return [_link(settings, me, role)] if is_mine and is_known else []


def _serve(journal: str | None, settings: PageSettings, people: list[Link], metrics: str | None) -> None:
    from ledger.page import serve
    from ledger.page.app import create
    from ledger.page.security import guarded
    from ledger.page.security.links import Links, folder_of, running

    serve.check(settings)
    with ExitStack() as stack:
        source = stack.enter_context(closing(_source(journal, settings)))
        sockets = [stack.enter_context(one) for one in serve.listening(settings)]
        if settings.socket is not None:
            stack.callback(settings.socket.unlink, missing_ok=True)
        else:
            settings = evolve(settings, port=int(sockets[0].getsockname()[1]))
        folder, url = folder_of(settings, settings.port), serve.base_url(settings, settings.port)
        links, app = Links(folder), create(source, settings)
        guard = guarded(app, settings, links=links, complain=_print_access)
        if metrics is not None:
            stack.enter_context(_metrics(metrics, source.reader))

        def started() -> None:
            stack.enter_context(running(folder, url or ""))
            _announce(settings, url)
            _print_links(
                folder, settings, [(one, f"{url or ''}/#token={links.make(one, settings.link_min)}") for one in people]
            )
            SystemdNotifier().send("READY=1")

        serve.serve(guard, settings, sockets, started=started, stopping=app.state.close)


def _metrics(address: str, ledger: Ledger) -> MetricsServer:
    from ledger.cli.metrics import journal_metrics
    from ledger.metrics.server import MetricsServer

    server = MetricsServer(address, [journal_metrics(ledger)], log=complain)
    complain(f"metrics are at {server.url}")
    return server


def _print_links(folder: Path, settings: PageSettings, made: list[tuple[Link, str]]) -> None:
    """Print links, also into a file; where the output goes into the system's log, which others read, only there."""
    from ledger.page.security.links import write_links

    if not made:
        if settings.socket is None and settings.proxy_secret_file is None:
            complain("nobody can sign in yet: ledger page link --operator NAME prints a link")
        return
    file = write_links(folder, [address for _, address in made])
    for one, address in made:
        print_line(f"the link is in {file}" if _IN_SYSTEM_LOG in os.environ else address)
        complain(_about(one, settings))


def _source(journal: str | None, settings: PageSettings) -> Source:
    from ledger.page.source import Source

    url = journal_url(journal)
    writer = (settings.writer or url) if settings.allow_writes else None
    return Source.open(url, writer, configuration=configuration())


def _print_access(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _announce(settings: PageSettings, url: str | None) -> None:
    from ledger.page.security.hosts import has_cookie_of_its_own

    where = f"the socket {settings.socket}" if settings.socket is not None else str(url)
    if settings.socket is None and not where.endswith(f":{settings.port}"):
        where += f", for its proxy on port {settings.port}"
    if url is not None and not has_cookie_of_its_own(urlsplit(url).hostname or ""):
        complain(
            "warning: a browser sends the sign-in of this name to every program that listens on one of its ports; "
            f"{HOST} is a name of the page alone, in browsers that know it"
        )
    complain(f"the page is at {where}; it {'lets people write' if settings.allow_writes else 'only reads'}; Ctrl-C stops it")


def _about(one: Link, settings: PageSettings) -> str:
    return f"signs in {one.name} ({one.role.value}), once, within {settings.link_min:g} minutes"


def _answers(settings: PageSettings) -> bool:
    family, address = (
        (socket.AF_INET, (settings.listen or "127.0.0.1", settings.port))
        if settings.socket is None
        else (socket.AF_UNIX, str(settings.socket))
    )
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(address) == 0


COMMANDS: Final = {"page": page}
