"""This package is a journal in SQLite or Postgres."""
