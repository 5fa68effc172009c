"""One suite for every journal: what they guarantee, whatever they are stored in."""
