"""The promises that `registry.checks` keeps."""
