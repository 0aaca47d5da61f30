"""The promises that `registry.storage` keeps."""
