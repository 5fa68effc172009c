"""What all tests share: how hard Hypothesis looks. ``dev`` is quick, ``ci`` is thorough and the same every time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "dev",
    max_examples=40,
    deadline=None,  # a slow machine is no failure
    suppress_health_check=[
        HealthCheck.too_slow,  # a history is made of a hundred small choices, and the first ones are made cold
    ],
)
settings.register_profile("ci", settings.get_profile("dev"), max_examples=100, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
