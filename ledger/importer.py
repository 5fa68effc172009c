"""The import: files in, events appended, and the proof of what they make against the broker's own figures.

All files of one call are read and checked before anything is appended. What is appended to one account is one append, all
or nothing. Which order files come in makes no difference in the end: their events are put in order by replay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import TypeVar

import attrs
from attrs import field, frozen
from attrs.converters import optional

from ledger.clock import ClockRule, implausible, utc_text
from ledger.codec import deal_columns
from ledger.deprecation import Alias, arguments
from ledger.errors import AccountMismatch, BadValue, DealConflict, InexactNumber, MalformedExport, VersionConflict
from ledger.events import (
    AccountOpened,
    Adjusted,
    BalanceAsserted,
    Deal,
    DealOrder,
    Event,
    FillRecorded,
    Origin,
)
from ledger.events.deals import IMPORT_CORRELATION, make_deal
from ledger.fold_order import falling_tickets
from ledger.imports import Attribution, Note, Statement, attribute, one_line_each, read_regular, statement_of
from ledger.imports.cells import Place
from ledger.imports.statement import DealRow
from ledger.journal import Appended, Outcome, Selection
from ledger.journal.memory import MemoryJournal
from ledger.journal.plausible import latest_msc, refuse_currency
from ledger.portfolio import Portfolio
from ledger.postings import Posting
from ledger.proof import Check, end_of, prove, prove_results, replayed, unbroken_until
from ledger.service import Account, Ledger
from ledger.terms import AccountTerms
from ledger.values import CREDIT, AccountId, Entry, MarginMode, currency_digits, plain, to_currency, to_own_margin_mode

PathLike = str | os.PathLike[str]
_T = TypeVar("_T")
#: So often it is planned anew where somebody else writes meanwhile, and the plan rests on what was known.
_ATTEMPTS = 10


@frozen(kw_only=True)
class FileReport:
    """What became of one file. Counts are of deals; ``completed`` are among the duplicates.

    ``unattributed`` are trades of a hedging account whose position neither this file nor another one of the call gave.
    ``notes`` has a sentence for each cause, ``details`` one for each deal and row.
    """

    file: str
    account: AccountId
    terms: AccountTerms
    standing = Alias("terms")
    read: int
    appended: int
    duplicates: int
    completed: int
    conflicts: tuple[DealConflict, ...]
    unattributed: int
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    details: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether nothing conflicts or is unattributed, and every figure of the broker that can be checked is reproduced."""
        is_reproduced = not any(check.disagreements for check in self.checks)
        return is_reproduced and not self.conflicts and not self.unattributed


@frozen(kw_only=True)
class ImportOptions:
    """What the caller states where a file does not: account, mode, currency, clock rule."""

    account: AccountId | None = None
    mode: MarginMode | None = field(default=None, converter=optional(to_own_margin_mode))
    currency: str | None = None
    clock: ClockRule | None = None


@frozen(kw_only=True)
class _Plan:
    """What is to be appended to an account, and the terms that it is recorded with.

    ``rests_on`` is the version at which its policy was asked, None if it was not.
    """

    account: AccountId
    events: list[Event]
    parts: list[_Part]
    terms: AccountTerms
    rests_on: int | None


@frozen(kw_only=True)
class _Part:
    """One file on its way into an account."""

    statement: Statement
    deals: tuple[Deal, ...]
    attribution: Attribution
    #: What holds for the whole file.
    general: tuple[str, ...]

    @property
    def notes(self) -> tuple[Note, ...]:
        """What holds for single deals and rows."""
        return self.attribution.notes


@arguments(told="options")
def import_files(
    ledger: Ledger,
    paths: Sequence[PathLike],
    *,
    options: ImportOptions | None = None,
    dry_run: bool = False,
    progress: Callable[[str], object] = lambda _: None,
) -> tuple[FileReport, ...]:
    """Import exports and dumps, and prove the result.

    Args:
        ledger: Where the events go.
        paths: Terminal or tester reports (html, xlsx), deal dumps (csv, xlsx).
        options: What the files may not state themselves.
        dry_run: Append nothing; report what an import would do.
        progress: Called with what is being done, in words.

    Returns:
        A report for each file, in the order of ``paths``.

    Raises:
        MalformedExport: A file cannot be read. Nothing was appended.
        AccountMismatch: A file is of another account, or the account is open with other terms. Nothing was appended.
        BadValue: Something that no file states was not given either. Nothing was appended to that account.
    """
    options = options or ImportOptions()
    statements: list[Statement] = []
    digest = sha256()
    for path in paths:
        progress(f"reading {os.fspath(path)}")
        data = read_regular(path, Place(os.fspath(path)))
        digest.update(sha256(data).digest())
        statements.append(statement_of(data, os.fspath(path)))
    names = [_account_of(statement, options) for statement in statements]
    if dry_run:
        now_us = ledger.now_us
        ledger = Ledger(MemoryJournal.copy_of(ledger.journal, list(dict.fromkeys(names)), now_us), now_us)

    def plan(name: AccountId) -> _Plan:
        progress(f"checking {name}")
        ours = [statement for statement, account in zip(statements, names, strict=True) if account == name]
        return _plan(ledger.account(name), ours, options)

    plans = {name: plan(name) for name in dict.fromkeys(names)}
    if len(plans) > 1:  # else the append itself refuses all of it, or nothing
        for planned in plans.values():
            _require_fit(planned)
    reports: dict[int, FileReport] = {}
    correlation = f"{IMPORT_CORRELATION}{digest.hexdigest()[:16]}"  # an import is named by the content of its files
    for name, planned in plans.items():
        progress(f"recording {name}")
        events, parts, appended = _recorded(ledger, planned, partial(plan, name), correlation)
        progress(f"proving {name}")
        for report, part in zip(_reports(ledger.account(name), events, parts, appended), parts, strict=True):
            reports[id(part.statement)] = report
    return tuple(reports[id(statement)] for statement in statements)


def _recorded(
    ledger: Ledger, planned: _Plan, plan: Callable[[], _Plan], correlation: str
) -> tuple[list[Event], list[_Part], Appended]:
    """Append what was planned. What rests on the policy is planned again where somebody else wrote meanwhile."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            appended = ledger.journal.append(
                planned.account, planned.events, correlation=correlation, conflicts="keep", expected_version=planned.rests_on
            )
        except InexactNumber:
            _require_fit(planned)
            raise
        except VersionConflict:
            if attempt == _ATTEMPTS:
                raise
            planned = plan()
        else:
            return planned.events, planned.parts, appended
    raise AssertionError("the last attempt returns or raises")


# ------------------------------------------------------------------------------------------------------------ whose it is


def _account_of(statement: Statement, options: ImportOptions) -> AccountId:
    named = None
    if statement.server is not None and statement.login is not None:
        named = AccountId(statement.server, statement.login)
    if options.account is None:
        if named is None:
            raise BadValue(f"{statement.file}: this file does not name its account; name it with --account SERVER/LOGIN")
        return named
    if named is not None and named != options.account:
        raise AccountMismatch(
            f"{statement.file}: this file is of account {named}, not of {options.account}. Nothing was imported; "
            "leave --account out, or import the file of the right account"
        )
    if named is None and statement.login is not None and statement.login != options.account.login:
        raise AccountMismatch(
            f"{statement.file}: this file is of login {statement.login}, not of {options.account}. Nothing was imported"
        )
    return options.account


def _terms(account: Account, statements: Sequence[Statement], options: ImportOptions) -> tuple[AccountOpened, tuple[str, ...]]:
    """Return how the account is opened, or was, from the files, the caller and the journal, and the notes about it."""
    opened = account.terms if account.is_open else None
    modes = [(one.file, one.mode) for one in statements]
    mode = _one(account, "mode", modes, options.mode, opened.opened.mode if opened else None)
    if mode is None:
        raise BadValue(
            f"{statements[0].file}: this file does not state whether account {account.name} nets or hedges, and a wrong "
            "guess would net hedged positions; pass --mode netting, hedging or exchange"
        )
    currencies = [(one.file, one.currency and one.currency.upper()) for one in statements]
    currency_given = None if options.currency is None else to_currency(options.currency)
    currency = _one(account, "currency", currencies, currency_given, opened.opened.currency if opened else None)
    if currency is None:
        raise BadValue(
            f"{statements[0].file}: this file does not state the currency of account {account.name}; "
            "pass --currency, as in --currency USD"
        )
    notes: tuple[str, ...] = ()
    clock = options.clock or (opened.clock if opened else ClockRule())
    if opened is None and options.clock is None:
        notes = (
            f"no --server-tz given: the server clock of {account.name} is taken for UTC, which few brokers run "
            "(ny-close is the most common); ledger account clock corrects it later",
        )
    if opened is not None and clock != opened.clock:
        raise AccountMismatch(
            f"account {account.name} has clock {opened.clock}, found {clock}. Nothing was imported; "
            f"if the account's rule is wrong, correct it first: ledger account clock {account.name} {clock}"
        )
    times = [deal.time_msc for one in statements for deal in one.deals]
    is_tester = any(statement.kind == "tester" for statement in statements)
    event = AccountOpened(
        server=account.name.server,
        login=account.name.login,
        currency=currency,
        currency_digits=opened.opened.currency_digits if opened else currency_digits(currency),
        mode=mode,
        clock=clock,
        time_msc=min(times) if times else clock.from_utc_msc(account.ledger.now_us() // 1000),
        order=DealOrder.TIME if is_tester else None,
    )
    if opened is None:
        refuse_currency(event)
    return event, notes


def _one(
    account: Account, what: str, from_files: Sequence[tuple[str, _T | None]], given: _T | None, known: _T | None
) -> _T | None:
    """Return the one value that files, caller and journal agree on.

    Raises:
        AccountMismatch: They do not.
    """
    found: dict[_T, str] = {}
    for file, value in from_files:
        if value is not None:
            found.setdefault(value, f"{file} states")
    if given is not None:
        found.setdefault(given, "the command line states")
    if known is not None:
        found.setdefault(known, "the journal states")
    if len(found) > 1:
        sources = ", ".join(f"{where} {getattr(value, 'value', value)}" for value, where in found.items())
        raise AccountMismatch(f"account {account.name} has one {what}, but {sources}. Nothing was imported")
    return next(iter(found), None)


# ---------------------------------------------------------------------------------------------------------- what it states


def _plan(account: Account, statements: Sequence[Statement], options: ImportOptions) -> _Plan:
    """Return the events to append for one account and what each file contributes."""
    version = account.journal_head.version if account.is_open else 0
    opened, notes = _terms(account, statements, options)
    terms = account.terms if account.is_open else AccountTerms.of(opened)
    latest = latest_msc(terms.clock, account.ledger.now_us() // 1000)
    parts: list[_Part] = []
    for statement in statements:
        attribution = attribute(statement, opened.mode)
        deals = tuple(
            _deal(statement, row, position_id, latest)
            for row, position_id in zip(statement.deals, attribution.position_ids, strict=True)
        )
        general = (*notes, *_start_notes(statement), *_falling(statement, opened))
        parts.append(_Part(statement=statement, deals=deals, attribution=attribution, general=general))
        notes = ()
    # In the order of time, so that nearly everything arrives in the fold order; files repeat each other's deals.
    in_time_order = sorted((deal for part in parts for deal in part.deals), key=lambda deal: (deal.time_msc, deal.deal))
    openings, gaps = _openings(account, statements)
    if gaps and parts:
        parts[0] = attrs.evolve(parts[0], general=(*parts[0].general, *gaps))
    order = _order_of_time(account, opened)
    events = [opened, *order, *openings, *in_time_order]
    return _Plan(account=account.name, events=events, parts=parts, terms=terms, rests_on=version if order else None)


def _order_of_time(account: Account, opened: AccountOpened) -> list[Event]:
    """Return the event that orders an open account by time, where a tester report is imported into it."""
    if opened.order is None or not account.is_open or account.terms.order is DealOrder.TIME:
        return []
    order = [
        Adjusted(
            operator="ledger import", reason="tickets of Strategy Tester reports do not rise with time",
            time_msc=max(opened.time_msc, account.journal_head.last_msc, 0), order_before=account.terms.order,
            order_after=DealOrder.TIME,
        )
    ]  # fmt: skip
    account.require_one_person(order)
    return list(order)


def _falling(statement: Statement, opened: AccountOpened) -> tuple[str, ...]:
    """Say where tickets do not rise with time, on an account whose deals are ordered by them."""
    found = falling_tickets(sorted((deal.time_msc, deal.deal) for deal in statement.deals))
    if found is None or opened.order is DealOrder.TIME:
        return ()
    first = utc_text(found.first_msc).removesuffix("Z").replace("T", " ")
    return (
        f"tickets of {found.deals} deals do not rise with time, first of deal {found.first_deal} at {first} (server time): "
        f"if the account was moved to another server, order its deals by time: "
        f"ledger account order {opened.server}/{opened.login} time",
    )


def _deal(statement: Statement, row: DealRow, position_id: int | None, latest: int) -> Deal:
    why = implausible(row.time_msc, latest)
    if why is not None:
        raise MalformedExport(why, file=statement.file, row=row.row, column="time")
    try:
        return _event(row, position_id)
    except (BadValue, InexactNumber) as error:
        column = error.what if isinstance(error, InexactNumber) else None
        raise MalformedExport(str(error), file=statement.file, row=row.row, column=column) from error


def _require_fit(planned: _Plan) -> None:
    """Refuse the first row whose numbers do not fit the scales of the account or symbol, by its name."""
    for part in planned.parts:
        for row, deal in zip(part.statement.deals, part.deals, strict=True):
            try:
                deal_columns(deal, planned.terms)
            except InexactNumber as error:
                raise MalformedExport(str(error), file=part.statement.file, row=row.row, column=error.what) from error


def _event(row: DealRow, position_id: int | None) -> Deal:
    if row.side is not None and None in (row.symbol, row.entry, row.volume, row.price):
        raise BadValue(f"deal {row.deal} trades, but has no symbol, direction, volume or price")
    fields = {
        "deal": row.deal,
        "time_msc": row.time_msc,
        "symbol": row.symbol,
        "entry": row.entry,
        "volume": row.volume,
        "price": row.price,
        "order": row.order,
        "position_id": position_id,
        "commission": row.commission,
        "fee": row.fee,
        "swap": row.swap,
        "profit": row.profit,
        "magic": row.magic,
        "reason": row.reason,
        "comment": row.comment,
        "external_id": row.external_id,
        "origin": Origin.IMPORT,
    }
    return make_deal(row.type, row.word, fields)


def _start_notes(statement: Statement) -> tuple[str, ...]:
    if not statement.deals:
        return ("the file holds no deals",)
    first = utc_text(min(deal.time_msc for deal in statement.deals)).removesuffix("Z").replace("T", " ")
    if statement.opening is None:
        return (f"the file has no Balance column: what was on the account before {first} (server time) is not known",)
    if statement.starts_at_opening:
        return ()
    return (
        f"the file starts mid-history at {first} (server time): the balance before it, {plain(statement.opening)}, is "
        "taken from its Balance column; positions opened earlier are not known from this file",
    )


def _openings(account: Account, statements: Sequence[Statement]) -> tuple[list[BalanceAsserted], list[str]]:
    """Return what the files state of the balance before their first deal and of how far no deal is missing.

    With it, in words, where that shows that deals before a file were never recorded.

    A figure at the millisecond before the first deal is before every deal of that second.
    """
    found: dict[tuple[object, ...], BalanceAsserted] = {}
    for statement in statements:
        opening, until = statement.opening, unbroken_until(statement)
        if opening is None or until is None:
            continue
        credit = None
        if statement.credit is not None:
            credit = statement.credit - sum(deal.profit for deal in statement.deals if deal.type == CREDIT)
        asserted = BalanceAsserted(
            balance=opening - (credit or 0),
            credit=credit,
            time_msc=max(0, min(deal.time_msc for deal in statement.deals) - 1),
            complete_until_msc=until,
        )
        key = (asserted.time_msc, asserted.balance, asserted.credit)
        longest = found.get(key)
        if longest is None or (longest.complete_until_msc or 0) < until:
            found[key] = asserted
    new: list[BalanceAsserted] = []
    gaps: list[str] = []
    version = account.version
    for asserted in found.values():
        before = account.fold(Selection(version=version, time_msc=asserted.time_msc)) if version else None
        if before is None or not _is_known(before, asserted):
            new.append(asserted)
        if before is not None and before.totals.deals:
            gaps.extend(_gap(before, asserted))
    return new, gaps


def _is_known(before: Portfolio, asserted: BalanceAsserted) -> bool:
    """Whether the history is complete over what an opening figure speaks of, and agrees with it."""
    if before.complete_until_msc < (asserted.complete_until_msc or 0):
        return False
    if asserted.credit is None:
        return before.balance + before.credit == asserted.balance
    return (before.balance, before.credit) == (asserted.balance, asserted.credit)


def _gap(before: Portfolio, asserted: BalanceAsserted) -> Iterator[str]:
    missing = asserted.balance + (asserted.credit or 0) - before.balance - before.credit
    if missing:
        since, until = (
            utc_text(time_msc).removesuffix("Z").replace("T", " ")
            for time_msc in (before.newest_known_msc, asserted.time_msc + 1)
        )
        yield (
            f"deals between {since} and {until} (server time) are not in the journal: they moved the balance by "
            f"{plain(missing)}. Import an export that covers that time"
        )


# ----------------------------------------------------------------------------------------------------------- what came of it


def _reports(account: Account, events: Sequence[Event], parts: Sequence[_Part], appended: Appended) -> list[FileReport]:
    outcomes = {id(event): outcome for event, outcome in zip(events, appended.outcomes, strict=True)}
    terms = account.terms
    reports: list[FileReport] = []
    for part, unattributed in zip(parts, _unattributed(account, parts), strict=True):
        became = [outcomes[id(deal)] for deal in part.deals]
        completed = became.count(Outcome.COMPLETED)
        reports.append(
            FileReport(
                file=part.statement.file,
                account=account.name,
                terms=terms,
                read=len(became),
                appended=became.count(Outcome.APPENDED),
                duplicates=became.count(Outcome.DUPLICATE) + completed,
                completed=completed,
                conflicts=tuple(outcome for outcome in became if isinstance(outcome, DealConflict)),
                unattributed=unattributed,
                checks=_checks(account, part, terms, appended.head.version),
                notes=(*part.general, *one_line_each(part.notes)),
                details=tuple(map(str, part.notes)),
            )
        )
    return reports


def _unattributed(account: Account, parts: Sequence[_Part]) -> list[int]:
    """Return how many trades of each file have no position, neither from the file nor from the journal.

    On a netting account the symbol decides which position it is.
    """
    if account.terms.opened.mode.nets:
        return [0] * len(parts)
    without = [[deal.deal for deal in part.deals if _is_without_position(deal)] for part in parts]
    if not any(without):
        return [0] * len(parts)
    deal_at, position_at = (Posting._fields.index(name) for name in ("deal", "position_id"))
    rows = account.ledger.journal.postings(account.name, Selection(version=account.version))
    known = {row[deal_at] for row in rows if row[position_at] is not None}
    return [len(set(deals) - known) for deals in without]


def _is_without_position(deal: Deal) -> bool:
    """Whether a trade names no position; a deal that opens one names it by its order."""
    if not isinstance(deal, FillRecorded) or deal.position_id is not None:
        return False
    return deal.entry is not Entry.IN or deal.order is None


def _checks(account: Account, part: _Part, terms: AccountTerms, version: int) -> tuple[Check, ...]:
    end_msc = end_of(part.statement)
    if end_msc is None:
        check = prove_results(part.statement, part.attribution)
        return () if check is None else (check,)
    rows = account.ledger.journal.postings(account.name, Selection(version=version, time_msc=end_msc), terms)
    return prove(part.statement, replayed(terms, rows), part.attribution)
