"""One module per subcommand of `python -m profiler`: `add_arguments(parser)` and `main(arguments) -> exit status`."""
