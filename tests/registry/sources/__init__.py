"""The promises that `registry.sources` keeps."""
