"""Postings of the past as packed columns beside a journal: derived from it, fast to read, and dropped without loss."""
