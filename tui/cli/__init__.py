"""The command line: one module a command.

To add a command, add its module and its line in `main.COMMANDS`. The module is called as the
command is, and has:

- `PAGE`: what its help says, with examples and exit codes;
- `add_arguments(parser)`: what it takes, with the `add_…` functions of `parser` for what other
  commands take as well;
- `run(options)`: does it; returns the exit code.

`--help`, mistakes and completion import the module without running it. So it imports at its top
only what `main` has imported anyway, and the rest in its functions.

A command that changes something calls `context.refuse_if_read_only` first, and changes through
`confirm.propose`. A command that only reads sets `code_without_reader=DONE`.
"""
