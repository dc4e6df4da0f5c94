"""A client for the exercises: SQL by both protocols, and the exact error of a refusal."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from protocol.postgres import backend, frontend
from protocol.postgres.startup import StartupMessage
from pyproxy.postgres.connect import Proof, Refused, ask, authenticate, welcome
from pyproxy.stream import LoginStream, dial

Row = tuple[bytes | None, ...]


class Address(NamedTuple):
    """Where to log in, and as whom."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """For psql."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


class Client:
    """A connection; its methods raise Refused for an error of the server, OSError for its loss."""

    def __init__(self, stream: LoginStream, reported: dict[str, str]) -> None:
        self._stream = stream
        self._prepared: set[str] = set()
        self.reported = reported

    @classmethod
    async def connect(
        cls,
        address: Address,
        *,
        application_name: str = "lab",
        tls: ssl.SSLContext | None = None,
    ) -> Client:
        """Log in; with a context over TLS, which the server then must have."""
        stream, _ = await dial(address.host, address.port, "require" if tls else "disable", tls)
        try:
            parameters = {
                "user": address.user,
                "database": address.database,
                "application_name": application_name,
            }
            stream.write(StartupMessage(3, 0, parameters).encode())
            await authenticate(stream, address.user, Proof(address.password))
            reported, _ = await welcome(stream)
        except BaseException:
            stream.transport.abort()
            raise
        return cls(stream, reported)

    async def query(self, sql: str) -> list[Row]:
        """The rows of a simple query."""
        return await ask(self._stream, sql, self.reported)

    async def value(self, sql: str) -> str:
        """The first column of the first row."""
        return (await self.query(sql))[0][0].decode()  # type: ignore[union-attr]

    async def prepared(self, name: str, sql: str, *values: str) -> list[Row]:
        """The rows of a statement that is prepared by protocol, under its name, once."""
        out = b""
        if name not in self._prepared:
            out = frontend.Parse(name.encode(), sql.encode()).encode()
        arguments = frontend.BindArguments(values=tuple(value.encode() for value in values))
        out += frontend.Bind(b"", name.encode(), arguments.encode()).encode()
        out += frontend.Execute(b"", 0).encode() + frontend.Sync().encode()
        self._stream.write(out)
        rows = await self._answers()
        self._prepared.add(name)
        return rows

    async def _answers(self) -> list[Row]:
        rows: list[Row] = []
        failure: backend.ErrorResponse | None = None
        while True:
            tag, body = await self._stream.read()
            if tag == backend.DATA_ROW:
                rows.append(backend.DataRow.decode(body).values)
            elif tag == backend.ERROR_RESPONSE:
                failure = backend.ErrorResponse.decode(body)
                if failure.severity in ("FATAL", "PANIC"):
                    raise Refused(failure)
            elif tag == backend.READY_FOR_QUERY:
                if failure is not None:
                    raise Refused(failure)
                return rows

    def close(self) -> None:
        """Leave politely."""
        self._stream.write(frontend.Terminate().encode())
        self._stream.transport.close()


async def attempt(address: Address, *, tls: ssl.SSLContext | None = None) -> str:
    """What becomes of a login and a query: "logged in", or the SQLSTATE and text of a refusal."""
    try:
        client = await Client.connect(address, tls=tls)
        await client.query("SELECT 1")
        client.close()
    except Refused as refused:
        return f"{refused.sqlstate}: {refused.message}"
    return "logged in"
