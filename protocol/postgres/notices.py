"""ErrorResponse and NoticeResponse: the same fields, said with or without regret.

    backend.ErrorResponse.of("FATAL", sqlstate.INVALID_PASSWORD, "...").encode()

PostgreSQL manual, "Error and Notice Message Fields": a field is a letter and a text; an unknown
letter is to be ignored. `backend` hands these names on.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self, TypeAlias

from protocol.postgres.fields import Reader, message, string

ERROR_RESPONSE: Final = 0x45  # 'E'
NOTICE_RESPONSE: Final = 0x4E  # 'N'

# The fields that we say or look at; the others pass as they are.
SEVERITY: Final = 0x53  # 'S', perhaps translated
SEVERITY_UNTRANSLATED: Final = 0x56  # 'V', since PostgreSQL 9.6
SQLSTATE: Final = 0x43  # 'C'
MESSAGE: Final = 0x4D  # 'M'
DETAIL: Final = 0x44  # 'D'
HINT: Final = 0x48  # 'H'

Fields: TypeAlias = tuple[tuple[int, bytes], ...]
"""(letter, text) in the order of the message; the text in the client's encoding."""


class ErrorResponse(NamedTuple):
    """Something went wrong; with severity FATAL or PANIC the connection ends here."""

    fields: Fields

    @property
    def severity(self) -> str:
        """ERROR, FATAL or PANIC: the untranslated one if the server says it."""
        return _severity(self.fields)

    @property
    def sqlstate(self) -> str:
        """The five characters of the code."""
        return _text(self.fields, SQLSTATE)

    @property
    def message(self) -> str:
        """The primary text."""
        return _text(self.fields, MESSAGE)

    @property
    def detail(self) -> str:
        """The second text, or ""."""
        return _text(self.fields, DETAIL)

    @classmethod
    def of(
        cls, severity: str, sqlstate: str, message: str, detail: str = "", hint: str = ""
    ) -> Self:
        """Make one of our own. It never fails: what cannot be said is said with a `?`."""
        return cls(_fields(severity, sqlstate, message, detail, hint))

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(ERROR_RESPONSE, _encoded(self.fields))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(_decoded(cls.__name__, body))


class NoticeResponse(NamedTuple):
    """Something worth saying, from DEBUG to WARNING; it may come at any time."""

    fields: Fields

    @property
    def severity(self) -> str:
        """WARNING, NOTICE, DEBUG, INFO or LOG: the untranslated one if the server says it."""
        return _severity(self.fields)

    @property
    def sqlstate(self) -> str:
        """The five characters of the code."""
        return _text(self.fields, SQLSTATE)

    @property
    def message(self) -> str:
        """The primary text."""
        return _text(self.fields, MESSAGE)

    @classmethod
    def of(
        cls, severity: str, sqlstate: str, message: str, detail: str = "", hint: str = ""
    ) -> Self:
        """Make one of our own. It never fails: what cannot be said is said with a `?`."""
        return cls(_fields(severity, sqlstate, message, detail, hint))

    def encode(self) -> bytes:
        """Return the whole message."""
        return message(NOTICE_RESPONSE, _encoded(self.fields))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a body."""
        return cls(_decoded(cls.__name__, body))


def _text(fields: Fields, letter: int) -> str:
    """The field's text, or "": the manual promises S, C and M, and we do not rely on it."""
    for found, text in fields:
        if found == letter:
            return text.decode("utf-8", "replace")
    return ""


def _severity(fields: Fields) -> str:
    return _text(fields, SEVERITY_UNTRANSLATED) or _text(fields, SEVERITY)


def _fields(severity: str, sqlstate: str, text: str, detail: str, hint: str) -> Fields:
    said = (
        (SEVERITY, severity),
        (SEVERITY_UNTRANSLATED, severity),
        (SQLSTATE, sqlstate),
        (MESSAGE, text),
        (DETAIL, detail),
        (HINT, hint),
    )
    return tuple([(letter, _bytes(text)) for letter, text in said if text])


def _bytes(text: str) -> bytes:
    """UTF-8, with `?` for a NUL and for what is not text (a user name in another encoding)."""
    return text.replace("\0", "?").encode("utf-8", "replace")


def _encoded(fields: Fields) -> bytes:
    return b"".join([bytes((letter,)) + string(text) for letter, text in fields]) + b"\0"


def _decoded(name: str, body: bytes) -> Fields:
    reader = Reader(name, body)
    fields: list[tuple[int, bytes]] = []
    while letter := reader.byte("field type"):
        fields.append((letter, reader.string(f"field '{chr(letter)}'")))
    reader.end()
    return tuple(fields)
