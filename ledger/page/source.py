"""Where the page reads and writes: one journal by two roles. Reads go through the reader, only appends through the writer."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Self

from ledger.config import Configuration
from ledger.errors import BadValue, NotPermitted
from ledger.json_views import Json
from ledger.service import Account, Ledger
from ledger.values import AccountId

if TYPE_CHECKING:
    from ledger.journal.sql.journal import SqlJournal


class Source:
    """A journal, opened for a page.

    Args:
        reader: What is read through.
        writer: What is appended through; None where nothing is.
        configuration: The settings that belong to the journal.
        name: What people call it: the name of its file or database.
        dialect: ``sqlite``, ``postgres`` or ``memory``.
    """

    def __init__(
        self,
        reader: Ledger,
        writer: Ledger | None = None,
        *,
        configuration: Configuration | None = None,
        name: str = "journal",
        dialect: str = "memory",
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.configuration = configuration or Configuration()
        self.name = name
        self.dialect = dialect

    @classmethod
    def open(cls, journal: str, writer: str | None = None, *, configuration: Configuration | None = None) -> Self:
        """Open a journal by its URL, and by another one for appending, where that has a role of its own.

        Raises:
            LedgerError: As ``Ledger.open``.
        """
        from ledger.journal.sql.urls import SqliteUrl, journal_url

        url = journal_url(journal)
        is_file = isinstance(url, SqliteUrl)
        name = PurePath(url.database).stem if isinstance(url, SqliteUrl) else str(url.database or url.host or "journal")
        segments = None if configuration is None else configuration.segments
        reader = Ledger.open(journal, segments=segments)
        try:
            appender = None if writer is None else reader if writer == journal else Ledger.open(writer, segments=segments)
        except BaseException:
            reader.close()
            raise
        dialect = "sqlite" if is_file else "postgres"
        return cls(reader, appender, configuration=configuration, name=name, dialect=dialect)

    @property
    def sql_journal(self) -> SqlJournal:
        """The journal that is read, which is in a database.

        Raises:
            BadValue: It is in memory.
        """
        from ledger.journal.sql.journal import SqlJournal

        if not isinstance(self.reader.journal, SqlJournal):
            raise BadValue("the page shows a journal in a database: name a file, or a database of Postgres")
        return self.reader.journal

    def json_row(self) -> Json:
        """Return which journal it is as JSON."""
        return {"name": self.name, "dialect": self.dialect}

    def to_write(self, account: AccountId) -> Account:
        """Return an account to append to.

        Raises:
            NotPermitted: Nothing may be appended here.
        """
        if self.writer is None:
            raise NotPermitted("this page only reads: start it with ledger page --allow-writes, and a role that may append")
        return self.writer.account(account)

    def close(self) -> None:
        """Give back connections."""
        self.reader.close()
        if self.writer is not None and self.writer is not self.reader:
            self.writer.close()
