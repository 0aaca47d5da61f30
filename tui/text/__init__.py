"""Text for the operator: untrusted text made safe, and the formats of ages and sizes."""
