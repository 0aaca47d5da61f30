"""What a registry says, as pure records and edits."""
