"""The promises that `registry` keeps."""
