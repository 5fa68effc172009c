"""What an account comes to at a moment, small enough to be sent between machines, with a digest that proves two equal."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from ledger.archive.read import ArchivedAccount
from ledger.errors import AccountUnknown
from ledger.journal import Selection
from ledger.journal.chain import genesis
from ledger.journal.checkpoints import fold_postings
from ledger.journal.moments import select_events
from ledger.json_views import Json, break_json, position_json
from ledger.portfolio import Portfolio
from ledger.postings import dump_json
from ledger.service import Account, Moment, moment_last_us
from ledger.terms import AccountTerms

#: What the digest covers.
_DIGESTED: Final = ("account", "version", "head", "balance", "credit", "positions")


@frozen(kw_only=True)
class Summary:
    """An account at a moment. Texts and whole numbers alone: it can be pickled, sent and compared anywhere.

    Attributes:
        account: ``SERVER/LOGIN``.
        currency: Of its money.
        version: The first so many events were known.
        head: The chain hash of the last of them (hex).
        balance: Money without credit, exact.
        credit: The credit facility, exact.
        positions: Open positions as in the JSON output, ascending by position id.
        breaks: Open breaks as in the JSON output, oldest first.
        folded: How many postings were folded.
    """

    account: str
    currency: str
    version: int
    head: str
    balance: str
    credit: str
    positions: tuple[Json, ...]
    breaks: tuple[Json, ...] = ()
    folded: int = 0

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of the canonical JSON of account, version, head, balance, credit and positions."""
        fields: dict[str, Any] = asdict(self, recurse=False)
        return sha256(dump_json({name: fields[name] for name in _DIGESTED}).encode()).hexdigest()


def fleet_digest(summaries: Iterable[Summary]) -> str:
    """Return the SHA-256 (hex) of the digests of accounts, ordered by account."""
    lines = sorted(f"{one.account} {one.digest}\n" for one in summaries)
    return sha256("".join(lines).encode()).hexdigest()


def fold_archive(path: Path | str, *, until: Moment = None, known_at: Moment = None) -> Summary:
    """Fold an archived account, also one that has moved to another journal: as it was when it left.

    Where nothing of it was recorded by ``known_at``, its version is 0.

    Args:
        path: Its folder.
        until: What had happened by then, as known now.
        known_at: What the ledger believed then.

    Raises:
        AccountUnknown: Nothing of an account is archived there.
        CorruptEvent: What is archived is not what was written.
        BadValue: A moment cannot be read.
    """
    return _fold(ArchivedAccount(Path(path)), until, known_at)


def fold_archive_here(path: Path | str, *, until: Moment = None, known_at: Moment = None) -> Summary | None:
    """Fold an archived account, None where it has moved to another journal. Arguments and errors as ``fold_archive``."""
    account = ArchivedAccount(Path(path))
    return None if account.has_moved else _fold(account, until, known_at)


def _fold(account: ArchivedAccount, until: Moment, known_at: Moment) -> Summary:
    present = account.terms(account.head.version)
    if present is None:
        raise AccountUnknown(f"{account.place}: expected an account that was opened, found none")
    selection, terms = select_events(
        account.head.version,
        until_us=_end_us(until),
        known_us=_end_us(known_at),
        version_at=account.version_at,
        terms_at=lambda version: account.terms(version) or present,
    )
    portfolio = Portfolio(terms)
    fold_postings(portfolio, account.postings(selection, terms))
    return _summary(portfolio, terms, selection, account.hash_at(selection.version))


def fold_journal(account: Account, *, until: Moment = None, known_at: Moment = None) -> Summary:
    """Return what ``fold_archive`` returns, of an account in a journal. Arguments as there.

    Raises:
        AccountUnknown: The account was not opened.
    """
    selection, terms = account.selection(until=until, known_at=known_at)
    chain = account.ledger.journal.hash_at(account.name, selection.version) or genesis(account.name)
    return _summary(account.fold(selection, terms), terms, selection, chain)


def _end_us(moment: Moment) -> int | None:
    return None if moment is None else moment_last_us(moment) + 1


def _summary(portfolio: Portfolio, terms: AccountTerms, selection: Selection, chain: bytes) -> Summary:
    balance, credit = map(portfolio.money_text, portfolio.money_units)
    return Summary(
        account=str(terms.account),
        currency=terms.opened.currency,
        version=selection.version,
        head=chain.hex(),
        balance=balance,
        credit=credit,
        positions=tuple(position_json(one, terms.clock) for one in portfolio.positions.values()),
        breaks=tuple(break_json(one, terms.clock) | {"version": one.version} for one in portfolio.breaks),
        folded=portfolio.folded,
    )
