"""The command ``page``: serves the operator's page, and makes links that sign people in."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import evolve

from ledger.cli.options import configuration, journal_option, journal_url
from ledger.cli.output import print_line
from ledger.cli.streams import complain
from ledger.errors import BadValue
from ledger.page_settings import PageSettings, Role, host_name, person_name

if TYPE_CHECKING:  # starlette and uvicorn belong to an extra
    from ledger.page.security.links import Link
    from ledger.page.source import Source

_NEEDED: Final = ("starlette", "uvicorn")
_ROLES: Final = [role.value for role in Role]
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
@click.option("--access-log", metavar="FILE", type=_FILE, help="Sign-ins and reads, as lines of JSON; else standard error.")
@click.pass_context
def page(ctx: click.Context, /, journal: str | None, operators: tuple[str, ...], role: str | None, **options: Any) -> None:
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
    settings = _settings(options)
    ctx.obj.page_settings = settings
    if ctx.invoked_subcommand is not None:
        return
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise BadValue(
            f"the page needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'mt5-position-ledger[page]'"
        )
    _serve(journal, settings, [_link(settings, name, role) for name in dict.fromkeys(operators)], role)


@page.command("link", short_help="Print a link that signs a person in, once, while the page runs.")
@click.option("--operator", metavar="NAME", help="For whom. (default: your login name)")
@click.option("--role", type=click.Choice(_ROLES), help="In which role; at most that of [page.operators].")
@click.pass_context
def link(ctx: click.Context, operator: str | None, role: str | None) -> None:
    """Print a link that signs a person in, once, while the page runs.

    Call it as the user who runs the page, and open the link in that person's own browser. Options that say where the page
    listens go before the word link, as those of ledger page itself.

    \b
    Examples:
      ledger page link --operator bob --role approver
      ledger page --port 8078 link
    """
    from ledger.page.security.links import Links, folder_of, running_url

    settings: PageSettings = ctx.obj.page_settings
    folder = folder_of(settings, settings.port)
    url = running_url(folder)
    if url is None or not _is_running(settings):
        where = f"the socket {settings.socket}" if settings.socket else f"port {settings.port}"
        raise BadValue(f"no page of this user runs on {where}: start one with ledger page, or name its --port")
    made = _link(settings, operator or getpass.getuser(), role)
    print_line(f"{url}/#token={Links(folder).make(made, settings.link_min)}")
    complain(_about(made, settings))


def _settings(options: dict[str, Any]) -> PageSettings:
    """Return the settings of the file, with what options name instead."""
    found = {name: value for name, value in options.items() if value not in (None, (), False)}
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


def _serve(journal: str | None, settings: PageSettings, people: list[Link], role: str | None) -> None:
    from ledger.page import serve
    from ledger.page.app import create
    from ledger.page.security import guarded
    from ledger.page.security.links import Links, folder_of, write_link, write_running

    serve.check(settings)
    source = _source(journal, settings)
    try:
        sockets = serve.listening(settings)
        port = settings.port if settings.socket is not None else int(sockets[0].getsockname()[1])
        settings = evolve(settings, port=port)
        folder, url = folder_of(settings, port), serve.base_url(settings, port)
        links = Links(folder)
        app = create(source, settings)
        guard = guarded(app, settings, links=links, complain=_print_access)

        def started() -> None:
            write_running(folder, url or "")
            _announce(settings, url)
            for one in people or ([_link(settings, getpass.getuser(), role)] if url and not settings.operators else []):
                address = f"{url or ''}/#token={links.make(one, settings.link_min)}"
                file = write_link(folder, address)
                print_line(f"the link is in {file}" if "JOURNAL_STREAM" in os.environ else address)
                complain(_about(one, settings))

        serve.serve(guard, settings, sockets, started=started, stopping=app.state.close)
    finally:
        source.close()


def _source(journal: str | None, settings: PageSettings) -> Source:
    from ledger.page.source import Source

    url = journal_url(journal)
    writer = (settings.writer or url) if settings.allow_writes else None
    return Source.open(url, writer, configuration=configuration())


def _print_access(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _announce(settings: PageSettings, url: str | None) -> None:
    where = f"the socket {settings.socket}" if settings.socket is not None else url
    complain(f"the page is at {where}; it {'lets people write' if settings.allow_writes else 'only reads'}; Ctrl-C stops it")


def _about(one: Link, settings: PageSettings) -> str:
    return f"signs in {one.name} ({one.role.value}), once, within {settings.link_min:g} minutes"


def _is_running(settings: PageSettings) -> bool:
    family, address = (
        (socket.AF_INET, (settings.listen or "127.0.0.1", settings.port))
        if settings.socket is None
        else (socket.AF_UNIX, str(settings.socket))
    )
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        return probe.connect_ex(address) == 0


COMMANDS: Final = {"page": page}
