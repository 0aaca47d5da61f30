"""The promises that `registry.storage.files` keeps, with several users and file systems."""
