"""The screens: the roll, questions, reports and help."""
