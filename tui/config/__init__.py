"""The settings of the user: defaults, the settings file, its template."""
