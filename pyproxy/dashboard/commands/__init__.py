"""Commands that ask a running proxy by HTTP.

Each module has `add_arguments(parser)` and `run(arguments) -> int`, the exit code: 0 done, 1 the
answer is no, 2 it could not be asked. Errors are one line on standard error.
"""
