"""Questions, results and help: screens that know plans, not sessions."""
