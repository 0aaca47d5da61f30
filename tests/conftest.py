"""What every test runs under."""

from __future__ import annotations

import os
import signal

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

# No settings of whoever runs the tests, and their locale neither.
os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
os.environ["LC_ALL"] = "C.UTF-8"
os.environ.pop("MUSTER_CONFIG", None)

# Nor what their shell has every program ignore, as nohup does.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
