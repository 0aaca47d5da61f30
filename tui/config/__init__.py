"""The user's settings: their defaults, the settings file and its template."""
