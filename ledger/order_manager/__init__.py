"""Placing orders: what is read for the check of a request, beside portfolio and orders."""
