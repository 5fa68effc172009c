"""Laws: what holds for whatever Hypothesis comes up with."""
