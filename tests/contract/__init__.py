"""One suite for every journal: what they promise, whatever they are kept in."""
