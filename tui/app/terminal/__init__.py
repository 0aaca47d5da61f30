"""The monitor's terminal: keys, job control, and the handover to other programs."""
