"""The promises that `registry.schema` keeps."""
