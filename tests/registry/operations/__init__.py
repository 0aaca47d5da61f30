"""The promises that `registry.operations` keeps."""
