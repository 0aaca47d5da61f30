"""The monitor's screens: the main screen, dialogs, reports and the help."""
