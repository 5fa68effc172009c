"""Tests of the project itself: its layers, its texts, its package, its tools."""
