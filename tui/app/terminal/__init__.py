"""The terminal that the monitor runs in: keys, job control, handing it to other programs."""
