"""Gateways over real sockets, with terminals in real threads and processes."""
