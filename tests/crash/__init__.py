"""Real processes, killed and crowded: what was acknowledged is there, once."""
