"""What a command's exit code says; docs/reference/cli.md has the same for each command."""

from typing import Final

DONE: Final = 0
# It has done its work, and the answer is "no".
NO: Final = 1
# Wrong usage, or a configuration or a file that can't be used.
WRONG: Final = 2
# `| head` has seen enough: what a shell tells of a program that SIGPIPE has ended.
NOBODY_READS: Final = 141
