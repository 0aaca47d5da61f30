"""Files of several users: opened without following links, created whole, and believed or not."""
