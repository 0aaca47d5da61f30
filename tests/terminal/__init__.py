"""The promises that `terminal` keeps."""
