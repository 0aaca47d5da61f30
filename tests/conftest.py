"""What every test runs under."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A deadline would fail examples for what else the machine is doing.
settings.register_profile(
    "muster",
    deadline=None,
    max_examples=60,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("muster"), max_examples=2000)
settings.load_profile("muster")
