"""The operator's actions: plans them, checks them again, executes them and logs them."""
