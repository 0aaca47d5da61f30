"""The monitor's terminal: its keys, its job control, and its handover to other programs."""
