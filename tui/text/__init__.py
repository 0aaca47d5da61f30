"""Text for people: the only way to the screen, and how ages and sizes are written."""
