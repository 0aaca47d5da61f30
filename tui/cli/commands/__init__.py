"""The commands: one module for each command.

To add a command, add a module with the command's name, and a line in `tui.cli.main.COMMANDS`. The
module has:

- `PAGE`: the command's help page, with examples and exit codes;
- `add_arguments(parser)`: adds the command's arguments. The `add_…` functions of `parser` add
  arguments that several commands have;
- `run(options)`: runs the command and returns the exit code.

`--help`, usage errors and completion import the module without running the command. To keep this
fast, the top of the module imports only modules that `main` has imported anyway. All other modules
are imported inside functions.

A command that changes agents or files calls `context.refuse_if_read_only` first, and makes its
changes through `confirm.propose`. `add_arguments` of a command that changes nothing sets the
default `code_without_reader=DONE`: the exit code if standard output is closed early.
"""
