"""Text for the operator: makes untrusted text safe, and formats ages and sizes."""
