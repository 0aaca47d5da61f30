"""Plans, checks, executes and logs the operator's actions."""
