"""A directory of journals: which account is in which of several, and how an account moves from one to another.

    with Directory.open("postgresql+psycopg://ledger@directory-db/directory") as directory:
        account = directory.account("Broker-Live/70113")

An account is in one journal, by its epoch. An engine that gets ``AccountMoved`` asks here again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing
from threading import RLock
from typing import TYPE_CHECKING, Final, NoReturn, Self, cast

from attrs import frozen

from ledger.errors import AccountMismatch, AccountMoved, AccountUnknown, BadValue, CorruptEvent, JournalReplaced
from ledger.journal import Head, Journal
from ledger.journal.directory import DirectoryStore, ListedAccount, ListedJournal, url_to_list
from ledger.journal.location import ARRIVING, MOVED, MOVING, Location
from ledger.journal.verify.walk import verify_account
from ledger.service import Account, Ledger, utc_now_us
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal

#: The steps of a move, in their order: each is reported when it is done, and durable.
STEPS: Final = ("stopped", "copied", "verified", "left", "listed", "arrived")


@frozen(kw_only=True)
class Moved:
    """How a move ended.

    Attributes:
        account: Which account.
        source: The name of the journal that it left; None where it was there already.
        target: The name of the journal that it is in.
        epoch: Its epoch there.
        head: Its head there.
    """

    account: AccountId
    source: str | None
    target: str
    epoch: int
    head: Head


class Directory:
    """Journals by name, and accounts by the journal that they are in. Safe to use from several threads.

    Args:
        store: Its tables.
        urls: Name -> the URL to open a journal by on this machine; the one of the directory without.
        now_us: Returns the present in UTC microseconds.
    """

    def __init__(
        self, store: DirectoryStore, urls: Mapping[str, str] | None = None, now_us: Callable[[], int] = utc_now_us
    ) -> None:
        self._store = store
        self._urls = dict(urls or {})
        self._now_us = now_us
        self._ledgers: dict[ListedJournal, Ledger] = {}
        self._lock = RLock()

    @classmethod
    def open(cls, url: str, *, journals: Mapping[str, str] | None = None, now_us: Callable[[], int] = utc_now_us) -> Directory:
        """Open a directory that is there.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql+psycopg://HOST/DB``.
            journals: Name -> URL, for journals that are opened by another URL here, as with a password in it.
            now_us: Returns the present in UTC microseconds.

        Raises:
            BadValue: It is no URL.
            JournalMissing: There is no directory.
            JournalNewer: A newer program made it.
        """
        with ExitStack() as closed:
            store = closed.enter_context(closing(DirectoryStore(url)))
            store.check()
            closed.pop_all()
        return cls(store, journals, now_us)

    @classmethod
    def create(
        cls, url: str, *, journals: Mapping[str, str] | None = None, now_us: Callable[[], int] = utc_now_us
    ) -> Directory:
        """Open a directory; make it where there is none. Arguments and errors as ``open``."""
        with closing(DirectoryStore(url)) as store:
            store.make()
        return cls.open(url, journals=journals, now_us=now_us)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every journal that was opened."""
        with self._lock:
            for ledger in self._ledgers.values():
                ledger.close()
            self._ledgers.clear()
        self._store.close()

    # ---- journals

    def journals(self) -> tuple[ListedJournal, ...]:
        """Return the journals, by name."""
        return self._store.journals()

    def listed(self, name: str) -> ListedJournal:
        """Return a journal by its name or its URL.

        Raises:
            BadValue: It is not in the directory.
        """
        every = self.journals()
        found = next((one for one in every if name in (one.name, one.url, self._urls.get(one.name))), None)
        if found is None and "/" in name:
            url = url_to_list(name)
            found = next((one for one in every if one.url == url), None)
        if found is None:
            known = ", ".join(one.name for one in every) or "none"
            raise BadValue(f"journal {name} is not in the directory, which has: {known}. Add it: ledger directory add NAME URL")
        return found

    def open_journal(self, name: str) -> Ledger:
        """Return a journal by its name; it stays open until the directory is closed.

        One that has another URL or id in the directory meanwhile is opened anew; whoever has the former one keeps it open.

        Raises:
            BadValue: It is not in the directory.
            JournalReplaced: What is at its URL is another journal.
        """
        listed = self.listed(name)
        with self._lock:
            if listed not in self._ledgers:
                self._ledgers[listed] = self._opened(listed)
            return self._ledgers[listed]

    def _opened(self, listed: ListedJournal) -> Ledger:
        with ExitStack() as closed:
            ledger = closed.enter_context(Ledger.open(self._urls.get(listed.name, listed.url), now_us=self._now_us))
            found = ledger.journal.identity()
            if found != listed.journal_id:
                raise JournalReplaced(
                    f"the directory has journal {listed.journal_id} as {listed}, and {found} is there. If it was restored "
                    "from that one, say so: ledger directory add NAME URL"
                )
            closed.pop_all()
        return ledger

    def add(self, name: str, url: str) -> tuple[AccountId, ...]:
        """Add a journal and the accounts that are in it, and return those that are new. Harmless when it is repeated.

        One that was restored from before an account moved on has that account still. It refuses its events from now on, as the
        journal did whose place it takes.

        Args:
            name: What to call it.
            url: Where it is, without a password.

        Raises:
            BadValue: The URL has a password in it, or name or journal are in the directory as others.
            AccountMismatch: An account of it is in another journal, and what it has is no beginning of that.
        """
        from ledger.journal.sql.moving import note_moved

        if not name or "/" in name or name != name.strip():
            raise BadValue(f"expected a name for the journal, one word without a slash, found {name!r}")
        listed = url_to_list(url)
        with Ledger.open(self._urls.get(name, listed), now_us=self._now_us) as ledger:
            journal = ledger.journal
            parents = tuple(one.journal_id for one in journal.parents())
            located = {account: journal.location(account) for account in journal.accounts()}
            here = {account: found for account, found in located.items() if found.state not in (MOVED, ARRIVING)}
            elsewhere = {account: entry for account, entry in self.entries().items() if entry.journal != name}
            came = {
                one for one in here if one in elsewhere and self._has_come(one, here[one], elsewhere[one], journal, parents)
            }
            left = [self._left(one, here[one], elsewhere[one], journal) for one in here if one in elsewhere and one not in came]
            self._store.add_journal(ListedJournal(name, listed, journal.identity()), parents)
            for account, head, to in left:
                note_moved(sql_journal(ledger), account, head, to)
        for account in came:
            self._store.raise_epoch(account, ListedAccount(name, here[account].epoch))
        entries = {one: ListedAccount(name, found.epoch) for one, found in here.items() if one not in elsewhere}
        return tuple(account for account, entry in entries.items() if self._store.add_account(account, entry))

    def _has_come(
        self, account: AccountId, found: Location, entry: ListedAccount, journal: Journal, parents: tuple[str, ...]
    ) -> bool:
        """Return whether an account has left for a journal by the one that a directory of before that move has it in."""
        if found.epoch <= entry.epoch:
            return False
        left = self.open_journal(entry.journal).journal.location(account)
        return (left.state, left.epoch) == (MOVED, found.epoch) and left.other_id in (journal.identity(), *parents)

    def _left(
        self, account: AccountId, found: Location, entry: ListedAccount, journal: Journal
    ) -> tuple[AccountId, Head, Location]:
        """Return where an account is that a journal has still: its head there, and its location by the directory."""
        head, listed = journal.head(account), self.listed(entry.journal)
        if head is None or found.epoch >= entry.epoch:
            raise AccountMismatch(f"account {account} is in {entry.journal} by the directory: nothing was added")
        if self.open_journal(entry.journal).journal.hash_at(account, head.version) != head.hash:
            raise AccountMismatch(
                f"account {account} is in {entry.journal} by the directory, which does not have version {head.version} "
                "of this journal: these are two histories, and nothing was added. If it was restored, restore it anew, and "
                "record nothing there before it is in the directory"
            )
        return account, head, Location(epoch=entry.epoch, other=str(listed), other_id=listed.journal_id)

    # ---- accounts

    def entries(self) -> dict[AccountId, ListedAccount]:
        """Return account -> its journal and epoch, by server and login."""
        return self._store.entries()

    def entry(self, account: AccountId | str) -> ListedAccount:
        """Return the journal and the epoch of an account.

        Raises:
            AccountUnknown: It is not in the directory.
        """
        return self._store.entry(_account_id(account))

    def claim(self, account: AccountId, name: str) -> None:
        """Note that an account is going to be opened in a journal, before it is.

        Raises:
            AccountMismatch: It is in another journal, or was to be opened there.
        """
        try:
            self._store.add_account(account, ListedAccount(self.listed(name).name, 1))
        except AccountMismatch as error:
            entry = self._store.entry(account)
            if self.open_journal(entry.journal).journal.head(account) is None:
                raise AccountMismatch(_not_opened(account, entry)) from error
            raise

    def ledger(self, account: AccountId | str) -> Ledger:
        """Return the journal that an account is in.

        Raises:
            AccountUnknown: The account is not in the directory.
            JournalReplaced: The journal is another one, or an older copy.
            AccountMoved: The account has left it, and the directory does not have that yet: the move was cut short.
        """
        name = _account_id(account)
        entry = self._store.entry(name)
        ledger = self.open_journal(entry.journal)
        found = _found(name, entry, ledger.journal)
        if found is not None and found.state == MOVED:
            raise AccountMoved(
                f"account {name} has left {entry.journal} for {found.other}, epoch {found.epoch}. The directory does not have "
                f"that yet. Finish the move: ledger account move {name} --to {self._name_of(found)}",
                journal=found.other,
                epoch=found.epoch,
            )
        return ledger

    def _name_of(self, location: Location) -> str:
        """Return the name of the journal that an account has left for; what is known of it where the directory has it not."""
        names = (one.name for one in self.journals() if one.journal_id == location.other_id)
        return next(names, str(location.other))

    def account(self, account: AccountId | str) -> Account:
        """Return an account of the journal that it is in. Errors as ``ledger``."""
        return self.ledger(account).account(_account_id(account))

    def accounts(self) -> list[Account]:
        """Return the accounts of all journals that have events, by server and login.

        One whose move was cut short is returned as the journal has it that it has left for: that is all that was recorded.
        Errors as ``ledger``.
        """
        entries = self.entries()  # first, so that what the journals have is no older
        journals = dict(self.ledgers())
        known = {name: frozenset(ledger.journal.accounts()) for name, ledger in journals.items()}
        locations = {name: ledger.journal.locations() for name, ledger in journals.items()}
        found = []
        for account, entry in entries.items():
            location = locations[entry.journal].get(account, Location()) if account in known[entry.journal] else None
            _require_new_enough(account, entry, location)
            if location is not None:
                ledger = journals[entry.journal] if location.state != MOVED else self._followed(account, location)
                found.append((ledger or self.ledger(account)).account(account))
        return found

    def _followed(self, account: AccountId, left: Location) -> Ledger | None:
        """Return the journal that an account has left for, if it is in the directory and has the account so."""
        listed = next((one for one in self.journals() if one.journal_id == left.other_id), None)
        if listed is None:
            return None
        ledger = self.open_journal(listed.name)
        found = ledger.journal.location(account)
        if found.state == MOVED and found.epoch > left.epoch:
            return self._followed(account, found)
        return ledger if found.epoch >= left.epoch and found.state != MOVED else None

    def ledgers(self) -> Iterator[tuple[str, Ledger]]:
        """Yield every journal with its name. Errors as ``open_journal``."""
        for listed in self.journals():
            yield listed.name, self.open_journal(listed.name)

    # ---- moving

    def move(
        self,
        account: AccountId | str,
        to: str,
        *,
        done: Callable[[str], object] = lambda _: None,
        stop_work: Callable[[Ledger, AccountId], object] = lambda *_: None,
    ) -> Moved:
        """Move an account to another journal, or go on with a move that was cut short. Harmless when it is repeated.

        Its versions, times and hashes stay. While it moves neither journal accepts its events; afterwards the one that it left
        refuses them, whoever appends them.

        Args:
            account: Which.
            to: The name or the URL of the journal that it goes to, which is in the directory.
            done: Called with each step (``STEPS``) that is done.
            stop_work: Called with the journal that it leaves, before it accepts no more: ends what others do for the account.

        Raises:
            AccountUnknown: The account is not in the directory, or not in its journal.
            AccountMismatch: Another move is under way, it was cancelled, or the other journal has an account of that name.
            CorruptEvent: The copy is not as what was recorded. The account stays where it is, and accepts nothing: look at both
                with ``ledger verify``, or cancel the move.
        """
        name, target = _account_id(account), self.listed(to)
        entry = self._entry_to_move(name, target)
        if entry.journal == target.name:
            return _finish(self, name, entry, None, done)
        source = self.listed(entry.journal)
        if _found(name, entry, self.open_journal(source.name).journal) is None:
            raise AccountUnknown(_not_opened(name, entry))
        epoch = _Move(self, name, source, target, entry.epoch).leave(done, stop_work)
        there = ListedAccount(target.name, epoch)
        self._store.raise_epoch(name, there)
        done("listed")
        return _finish(self, name, there, source.name, done)

    def _entry_to_move(self, account: AccountId, target: ListedJournal) -> ListedAccount:
        """Return where an account is.

        One that is between two journals is in none that ``add`` reads. So one that has left for the target, and is not open
        there yet, is listed again where it was.
        """
        try:
            return self._store.entry(account)
        except AccountUnknown:
            arriving = self.open_journal(target.name).journal.location(account)
            source = next((one for one in self.journals() if one.journal_id == arriving.other_id), None)
            if arriving.state != ARRIVING or source is None:
                raise
            left = self.open_journal(source.name).journal.location(account)
            if (left.state, left.other_id, left.epoch) != (MOVED, target.journal_id, arriving.epoch):
                raise
            self._store.add_account(account, ListedAccount(source.name, left.epoch - 1))
            return self._store.entry(account)

    def cancel_move(self, account: AccountId | str) -> str:
        """Cancel a move that was begun and did not leave yet, and return the name of the journal that the account stays in.

        Raises:
            AccountMismatch: No move was begun, or it cannot be cancelled any more: finish it.
        """
        from ledger.journal.sql.moving import cancel

        name = _account_id(account)
        journal = self._store.entry(name).journal
        cancel(sql_journal(self.open_journal(journal)), name)
        return journal


class _Move:
    """One move from the journal that the directory has an account in."""

    def __init__(
        self, directory: Directory, account: AccountId, source: ListedJournal, target: ListedJournal, epoch: int
    ) -> None:
        self._directory = directory
        self._account = account
        self._epoch = epoch
        self._names = source, target
        self._ledger = directory.open_journal(source.name)
        self._source = sql_journal(self._ledger)
        self._target = sql_journal(directory.open_journal(target.name))
        self._to = Location(epoch=epoch, other=str(target), other_id=target.journal_id)

    def leave(self, done: Callable[[str], object], stop_work: Callable[[Ledger, AccountId], object]) -> int:
        """Go through the steps until the account has left, and return its epoch in the other journal.

        Steps that an earlier mover has done change nothing.
        """
        from ledger.journal.sql.moving import leave

        if self._source.location(self._account).state != MOVED:
            stop_work(self._ledger, self._account)
            head = self._copied(done)
            leave(self._source, self._account, head, self._left)
            done("left")
        return self._require_left()

    @property
    def _left(self) -> Location:
        return Location(epoch=self._epoch + 1, other=self._to.other, other_id=self._to.other_id)

    def _copied(self, done: Callable[[str], object]) -> Head:
        """Stop the account, copy it, and compare both; return its last head."""
        from ledger.journal.sql.moving import begin, take_over

        source, _ = self._names
        head = begin(self._source, self._account, self._to)
        done("stopped")
        arriving = Location(epoch=self._epoch + 1, other=str(source), other_id=source.journal_id)
        is_closed = take_over(self._source, self._target, self._account, head, arriving)
        done("copied")
        if is_closed:
            self._verify()
        self._compare(head)
        done("verified")
        return head

    def _compare(self, head: Head) -> None:
        """Compare the heads. Where another mover was faster, the account may have gone on in the other journal since."""
        found = self._target.head(self._account)
        is_open = self._target.location(self._account).state != ARRIVING
        if found != head and not (is_open and self._target.hash_at(self._account, head.version) == head.hash):
            raise CorruptEvent(
                f"account {self._account}: the copy ends at version {found.version if found else 0}, expected {head.version} "
                "with the same hash. The account is still in the journal that it was to leave: run ledger verify on both"
            )

    def _verify(self) -> None:
        for problem in verify_account(self._target, self._account).problems:
            raise CorruptEvent(
                f"the copy of {self._account} does not verify: version {problem.version}, {problem.field}: {problem.what}"
            )

    def _require_left(self) -> int:
        """Return the epoch that the account has left for; a directory that was restored has an older one."""
        found = self._source.location(self._account)
        if found.state == MOVED and found.other_id != self._to.other_id:
            raise AccountMismatch(
                f"account {self._account} has left for {found.other}: finish that move first, by the same ledger account move"
            )
        return found.epoch if found.state == MOVED else self._left.epoch


def _finish(
    directory: Directory, account: AccountId, entry: ListedAccount, source: str | None, done: Callable[[str], object]
) -> Moved:
    """Let an account accept events where the directory has it: it is listed there once it has left the other journal."""
    from ledger.journal.sql.moving import arrive

    journal = sql_journal(directory.open_journal(entry.journal))
    location = _found(account, entry, journal)
    if location is not None and location.state in (MOVING, MOVED):
        raise AccountMismatch(
            f"account {account} is on its way from {entry.journal} to {location.other}: finish that move first, or cancel it"
        )
    if location is not None and location.state == ARRIVING:
        arrive(journal, account, entry.epoch)
        done("arrived")
    head = journal.head(account)
    if head is None:
        raise AccountUnknown(_not_opened(account, entry))
    return Moved(account=account, source=source, target=entry.journal, epoch=entry.epoch, head=head)


def _found(account: AccountId, entry: ListedAccount, journal: Journal) -> Location | None:
    """Return the location of an account in the journal that the directory has it in; None if it was not opened there yet."""
    found = None if journal.head(account) is None else journal.location(account)
    _require_new_enough(account, entry, found)
    return found


def _require_new_enough(account: AccountId, entry: ListedAccount, found: Location | None) -> None:
    """Refuse a journal that does not have an account yet as the directory has it; None is one without the account.

    Only an account that is to be opened, in its first epoch, is in no journal.
    """
    if entry.epoch > (1 if found is None else found.epoch):
        has = "does not have it" if found is None else f"has it in epoch {found.epoch}"
        raise JournalReplaced(
            f"account {account} is in epoch {entry.epoch} by the directory, and {entry.journal} {has}: it is a copy of before "
            "a move. Put the right journal in its place"
        )


def _not_opened(account: AccountId, entry: ListedAccount) -> str:
    return (
        f"account {account} is in {entry.journal} by the directory, and was not opened there yet: open it, "
        f"ledger account open {account} --in {entry.journal}. Then ledger account move moves it"
    )


class DirectoryLedger(Ledger):
    """The journals of a directory as one ledger, as far as accounts go: what is of one journal is refused.

    Args:
        directory: Closed with it.
        named: If these are all in one journal, it is that one with all that it has.
    """

    def __init__(self, directory: Directory, named: Collection[AccountId] = ()) -> None:
        self.directory = directory
        ledgers = {id(ledger): ledger for ledger in map(directory.ledger, named)}
        if not named and len(directory.journals()) == 1:
            ledgers = {id(ledger): ledger for _, ledger in directory.ledgers()}
        self._one = next(iter(ledgers.values())) if len(ledgers) == 1 else None
        several = cast("Journal", _Several(directory))
        super().__init__(several if self._one is None else self._one.journal)

    def account(self, server: str | AccountId, login: int | None = None) -> Account:
        """Return an account of the journal that it is in."""
        if self._one is not None:
            return self._one.account(server, login)
        return self.directory.account(_account_id(server) if login is None else AccountId(str(server), login))

    def accounts(self) -> list[Account]:
        """Return the accounts that have events, by server and login."""
        return self.directory.accounts() if self._one is None else self._one.accounts()

    def journals(self) -> list[tuple[str, Ledger]]:
        """Return the journals with their names."""
        every = list(self.directory.ledgers())
        return every if self._one is None else [one for one in every if one[1] is self._one]

    def close(self) -> None:
        """Close the directory with its journals."""
        self.directory.close()


class _Several:
    """Takes the place of the journal where there are several: what is of one is refused."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def accounts(self) -> list[AccountId]:
        """Return the accounts that the directory has."""
        return list(self._directory.entries())

    def __getattr__(self, name: str) -> NoReturn:
        known = ", ".join(str(one) for one in self._directory.journals()) or "none"
        raise BadValue(f"this is about one journal, and there are several: name an account, or one with --journal: {known}")


def sql_journal(ledger: Ledger) -> SqlJournal:
    """Return the journal of a ledger that is in a database.

    Raises:
        BadValue: It is in memory.
    """
    from ledger.journal.sql.journal import SqlJournal

    if not isinstance(ledger.journal, SqlJournal):
        raise BadValue("an account moves between journals in SQLite or Postgres, not in memory")
    return ledger.journal


def _account_id(account: AccountId | str) -> AccountId:
    return account if isinstance(account, AccountId) else AccountId.parse(account)
