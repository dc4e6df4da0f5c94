"""The outline of a series: extended-query messages up to their Sync, which are answered as one.

    Parse? Bind Describe? Execute Sync

of the unnamed portal, all rows at once. A client mostly sends the series that it has sent before,
with other parameters: what was read of it once is kept, and the next one is only compared.
"""

from __future__ import annotations

from typing import Final

from protocol.postgres import backend, frontend
from protocol.postgres.conversation import SYNC, Owed
from protocol.postgres.framing import HEADER, LENGTH_BYTES, read_header
from pyproxy.postgres.statements import Catalog, Statement, is_definition

_EXECUTE_ALL: Final = frontend.Execute(b"", 0).encode() + frontend.Sync().encode()
# This or that is what may follow a Bind of the unnamed portal.
_DESCRIBE_AND_EXECUTE_ALL: Final = frontend.Describe(frontend.PORTAL, b"").encode() + _EXECUTE_ALL
_BIND_COMPLETE: Final = backend.BindComplete().encode()
_PARSE_AND_BIND_COMPLETE: Final = backend.ParseComplete().encode() + _BIND_COMPLETE
_HEADER_SIZE: Final = HEADER.size


class Series(Owed):
    """An outline; also what a server owes for it, from its first reply to its ReadyForQuery."""

    __slots__ = (
        "_least",
        "_names",
        "_names_at",
        "_names_end",
        "_outside",
        "_rest",
        "begin",
        "described",
        "head",
        "name",
        "name_end",
        "parsed",
    )

    def __init__(
        self, head: bytes, parsed: Statement | None, name: bytes, *, described: bool
    ) -> None:
        super().__init__(SYNC)
        # Its Parse, or nothing, and what that makes the unnamed statement.
        self.head = head
        self.parsed = parsed
        # The client's name of the statement that is bound, and where that ends.
        self.name = name
        self.name_end = len(head) + _HEADER_SIZE + 1 + len(name)
        # Is the portal described?
        self.described = described
        # What its answer begins with.
        self.begin = _BIND_COMPLETE if parsed is None else _PARSE_AND_BIND_COMPLETE
        # Of its Bind the names of portal and statement, and where they are; all that follows it.
        self._names = b"\0" + name + b"\0"
        self._names_at = len(head) + _HEADER_SIZE
        self._names_end = self.name_end + 1
        self._rest = _DESCRIBE_AND_EXECUTE_ALL if described else _EXECUTE_ALL
        # How many bytes are outside of what the Bind's length counts.
        self._outside = len(head) + 1 + len(self._rest)
        # How long it is at least: names that went beyond the Bind would be read out of `_rest`.
        self._least = self._outside + LENGTH_BYTES + len(self._names)

    def is_like(self, data: bytes) -> bool:
        """Are these bytes a series like this one, but for what the Bind has behind its names?"""
        size = len(data)
        if size < self._least:
            return False
        head = self.head
        bind = len(head)
        tag, length = read_header(data, bind)
        # Slices: startswith and endswith take twice as long.
        return (
            length == size - self._outside
            and data[self._names_at : self._names_end] == self._names
            and data[-len(self._rest) :] == self._rest
            and (not head or data[:bind] == head)
            and tag == frontend.BIND
        )

    def renamed(self, data: bytes, statement: Statement) -> bytes:
        """A series like this one, which binds a named statement, under the name of the server."""
        length = len(data) - self._outside - len(self.name)
        return statement.bind_head(length) + data[self.name_end :]


def read_series(data: bytes, catalog: Catalog) -> Series | None:
    """The outline of bytes that begin with a whole Parse or Bind; None if they are anything else.

    A Parse is taken for one with standard_conforming_strings on.
    """
    tag, length = read_header(data, 0)
    head = b""
    bind = 0
    if tag == frontend.PARSE:
        bind = 1 + length
        if len(data) - bind < _HEADER_SIZE or data[_HEADER_SIZE]:
            return None
        if not is_definition(data, _HEADER_SIZE + 1, bind):
            return None
        head = data[:bind]
        tag, length = read_header(data, bind)
    end = bind + 1 + length
    rest = data[end:]
    described = rest == _DESCRIBE_AND_EXECUTE_ALL
    if tag != frontend.BIND or not (described or rest == _EXECUTE_ALL):
        return None
    name_at = bind + _HEADER_SIZE + 1
    name_end = data.find(0, name_at, end)
    if name_end < 0 or data[name_at - 1] or (head and name_end != name_at):
        return None
    parsed = catalog.intern(head[_HEADER_SIZE + 1 :], True) if head else None
    return Series(head, parsed, data[name_at:name_end], described=described)
