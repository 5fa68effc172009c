"""Reconciliation: two pictures in, disagreements and events out. Pure."""
