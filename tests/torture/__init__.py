"""The promises that `torture` keeps."""
