"""The command line: the parsers, the help and the texts that commands share."""
