"""The promises that `support` keeps."""
