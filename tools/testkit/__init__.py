"""This package is what tests and tools share; it imports neither."""
