"""The subcommands of `python -m analysis`: each module has `add_arguments` and `main`."""
