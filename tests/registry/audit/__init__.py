"""The promises that `registry.audit` keeps."""
