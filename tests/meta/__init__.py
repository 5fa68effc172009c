"""Tests of the project itself: its floors, its texts, its package, its tools."""
