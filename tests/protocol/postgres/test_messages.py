"""Every message: bytes as the manual has them, back and forth, and never anything but its own error.

PostgreSQL manual, "Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.postgres import authentication, backend, copying, frontend, notices, results, startup
from protocol.postgres.errors import ProtocolError


class Message(Protocol):
    def encode(self) -> bytes: ...


name = st.binary(max_size=20).map(lambda b: b.replace(b"\0", b""))
ascii_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
oid = st.integers(0, 2**32 - 1)
int16 = st.integers(0, 1)
value = st.none() | st.binary(max_size=30)
values = st.lists(value, max_size=5).map(tuple)
kinds = st.sampled_from([ord("S"), ord("P")])
formats = st.lists(int16, max_size=4).map(tuple)

FRONTEND: dict[int, st.SearchStrategy[Any]] = {
    frontend.QUERY: st.builds(frontend.Query, name),
    frontend.PARSE: st.builds(frontend.Parse, name, name, st.lists(oid, max_size=5).map(tuple)),
    frontend.BIND: st.builds(
        frontend.Bind,
        name,
        name,
        st.builds(frontend.BindArguments, formats, values, formats).map(lambda a: a.encode()),
    ),
    frontend.DESCRIBE: st.builds(frontend.Describe, kinds, name),
    frontend.EXECUTE: st.builds(frontend.Execute, name, st.integers(0, 2**31 - 1)),
    frontend.CLOSE: st.builds(frontend.Close, kinds, name),
    frontend.SYNC: st.just(frontend.Sync()),
    frontend.FLUSH: st.just(frontend.Flush()),
    frontend.TERMINATE: st.just(frontend.Terminate()),
    frontend.FUNCTION_CALL: st.builds(
        frontend.FunctionCall,
        oid,
        st.builds(frontend.CallArguments, formats, values, int16).map(lambda a: a.encode()),
    ),
    frontend.COPY_DATA: st.builds(copying.CopyData, st.binary(max_size=50)),
    frontend.COPY_DONE: st.just(copying.CopyDone()),
    frontend.COPY_FAIL: st.builds(copying.CopyFail, name),
    frontend.PASSWORD: st.builds(frontend.PasswordMessage, name),
}
_columns = st.builds(
    results.FieldDescription,
    name,
    oid,
    st.integers(0, 2**15 - 1),
    oid,
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    int16,
)
_fields = st.lists(st.tuples(st.integers(1, 255), name), max_size=6).map(tuple)
BACKEND: dict[int, st.SearchStrategy[Any]] = {
    backend.BACKEND_KEY_DATA: st.builds(
        backend.BackendKeyData, oid, st.binary(min_size=4, max_size=32)
    ),
    backend.PARAMETER_STATUS: st.builds(backend.ParameterStatus, name, name),
    backend.READY_FOR_QUERY: st.builds(backend.ReadyForQuery, st.sampled_from(list(b"ITE"))),
    backend.NOTIFICATION_RESPONSE: st.builds(backend.NotificationResponse, oid, name, name),
    backend.NEGOTIATE_PROTOCOL_VERSION: st.builds(
        backend.NegotiateProtocolVersion, st.integers(0, 9), st.lists(name, max_size=3).map(tuple)
    ),
    backend.PARSE_COMPLETE: st.just(results.ParseComplete()),
    backend.BIND_COMPLETE: st.just(results.BindComplete()),
    backend.CLOSE_COMPLETE: st.just(results.CloseComplete()),
    backend.NO_DATA: st.just(results.NoData()),
    backend.PORTAL_SUSPENDED: st.just(results.PortalSuspended()),
    backend.EMPTY_QUERY_RESPONSE: st.just(results.EmptyQueryResponse()),
    backend.COMMAND_COMPLETE: st.builds(results.CommandComplete, name),
    backend.PARAMETER_DESCRIPTION: st.builds(
        results.ParameterDescription, st.lists(oid, max_size=6).map(tuple)
    ),
    backend.ROW_DESCRIPTION: st.builds(
        results.RowDescription, st.lists(_columns, max_size=4).map(tuple)
    ),
    backend.DATA_ROW: st.builds(results.DataRow, values),
    backend.FUNCTION_CALL_RESPONSE: st.builds(results.FunctionCallResponse, value),
    backend.COPY_DATA: st.builds(copying.CopyData, st.binary(max_size=50)),
    backend.COPY_DONE: st.just(copying.CopyDone()),
    backend.COPY_IN_RESPONSE: st.one_of(
        st.builds(copying.CopyInResponse, st.just(1), formats),
        st.just(copying.CopyInResponse(0, (0, 0))),
    ),
    backend.COPY_OUT_RESPONSE: st.one_of(
        st.builds(copying.CopyOutResponse, st.just(1), formats),
        st.just(copying.CopyOutResponse(0, (0, 0))),
    ),
    backend.COPY_BOTH_RESPONSE: st.one_of(
        st.builds(copying.CopyBothResponse, st.just(1), formats),
        st.just(copying.CopyBothResponse(0, (0, 0))),
    ),
    backend.ERROR_RESPONSE: st.builds(notices.ErrorResponse, _fields),
    backend.NOTICE_RESPONSE: st.builds(notices.NoticeResponse, _fields),
    backend.AUTHENTICATION: st.one_of(
        st.just(authentication.AuthenticationOk()),
        st.just(authentication.AuthenticationKerberosV5()),
        st.just(authentication.AuthenticationCleartextPassword()),
        st.builds(authentication.AuthenticationMD5Password, st.binary(min_size=4, max_size=4)),
        st.just(authentication.AuthenticationGSS()),
        st.builds(authentication.AuthenticationGSSContinue, st.binary(max_size=20)),
        st.just(authentication.AuthenticationSSPI()),
        st.builds(
            authentication.AuthenticationSASL,
            st.lists(ascii_text, min_size=1, max_size=3).map(tuple),
        ),
        st.builds(authentication.AuthenticationSASLContinue, st.binary(max_size=20)),
        st.builds(authentication.AuthenticationSASLFinal, st.binary(max_size=20)),
        st.builds(
            authentication.AuthenticationOther, st.integers(13, 2**31 - 1), st.binary(max_size=9)
        ),
    ),
}


def parts(data: bytes) -> tuple[int, bytes]:
    """Tag and body of exactly one message."""
    assert struct.unpack_from("!I", data, 1)[0] == len(data) - 1
    return data[0], data[5:]


@pytest.mark.parametrize("tag", FRONTEND, ids=chr)
@given(data=st.data())
def test_a_frontend_message_comes_back_as_it_was(tag: int, data: st.DataObject) -> None:
    message: Message = data.draw(FRONTEND[tag])
    assert parts(message.encode())[0] == tag
    assert frontend.decode(*parts(message.encode())) == message


@pytest.mark.parametrize("tag", BACKEND, ids=chr)
@given(data=st.data())
def test_a_backend_message_comes_back_as_it_was(tag: int, data: st.DataObject) -> None:
    message: Message = data.draw(BACKEND[tag])
    assert parts(message.encode())[0] == tag
    assert backend.decode(*parts(message.encode())) == message


@pytest.mark.parametrize(
    "message",
    [
        frontend.SASLInitialResponse("SCRAM-SHA-256", b"n,,n=,r=x"),
        frontend.SASLInitialResponse("SCRAM-SHA-256", None),
        frontend.SASLResponse(b"c=biws"),
        frontend.GSSResponse(b"\1\2"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_shares_a_tag_is_read_by_its_own_class(message: Any) -> None:
    """'p' means what was asked for before it."""
    tag, body = parts(message.encode())
    assert tag == frontend.PASSWORD
    assert type(message).decode(body) == message


def test_bind_keeps_its_arguments_as_bytes_until_asked() -> None:
    arguments = frontend.BindArguments((1,), (b"x", None), (0, 1))
    bind = frontend.Bind(b"p", b"s", arguments.encode())
    assert frontend.BindArguments.decode(bind.rest) == arguments


def test_call_arguments_come_back() -> None:
    arguments = frontend.CallArguments((1,), (b"x", None), 1)
    assert frontend.CallArguments.decode(arguments.encode()) == arguments


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (frontend.Query(b"SELECT 1"), b"Q\0\0\0\x0dSELECT 1\0"),
        (frontend.Parse(b"s", b"x", (23,)), b"P\0\0\0\x0es\0x\0\0\x01\0\0\0\x17"),
        (frontend.Execute(b"", 5), b"E\0\0\0\x09\0\0\0\0\x05"),
        (frontend.Sync(), b"S\0\0\0\4"),
        (backend.ReadyForQuery(ord("I")), b"Z\0\0\0\5I"),
        (results.DataRow((b"a", None)), b"D\0\0\0\x0f\0\2\0\0\0\1a\xff\xff\xff\xff"),
        (startup.SSLRequest(), b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (startup.GSSENCRequest(), b"\0\0\0\x08\x04\xd2\x16\x30"),
        (startup.CancelRequest(1, b"abcd"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1abcd"),
        (
            startup.StartupMessage(3, 0, {"user": "a"}),
            b"\0\0\0\x10\0\3\0\0user\0a\0\0",
        ),
    ],
    ids=lambda part: type(part).__name__ if not isinstance(part, bytes) else "",
)
def test_messages_are_the_manuals_bytes(message: Message, data: bytes) -> None:
    assert message.encode() == data


@given(
    st.dictionaries(
        ascii_text, st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9)
    )
)
def test_a_startup_message_comes_back_as_it_was(parameters: dict[str, str]) -> None:
    message = startup.StartupMessage(3, 2, parameters)
    assert startup.parse_first_packet(message.encode()[4:]) == message


@pytest.mark.parametrize(
    "message",
    [startup.SSLRequest(), startup.GSSENCRequest(), startup.CancelRequest(7, b"1234")],
    ids=lambda message: type(message).__name__,
)
def test_first_packets_are_told_apart(message: Any) -> None:
    assert startup.parse_first_packet(message.encode()[4:]) == message


DECODERS: list[Callable[[bytes], object]] = [
    *(lambda body, tag=tag: frontend.decode(tag, body) for tag in [*FRONTEND, 0, 255]),
    *(lambda body, tag=tag: backend.decode(tag, body) for tag in [*BACKEND, 0, 255]),
    frontend.SASLInitialResponse.decode,
    frontend.SASLResponse.decode,
    frontend.GSSResponse.decode,
    frontend.BindArguments.decode,
    frontend.CallArguments.decode,
    startup.parse_first_packet,
    *(
        kind.decode
        for kind in vars(authentication).values()
        if isinstance(kind, type) and hasattr(kind, "decode")
    ),
]


@given(st.sampled_from(DECODERS), st.binary(max_size=60))
def test_hostile_bytes_only_ever_are_a_protocol_error(
    decode: Callable[[bytes], object], body: bytes
) -> None:
    """A decoder that raises anything else would end more than one message."""
    try:
        decode(body)
    except ProtocolError as error:
        assert str(error)


@given(st.data())
def test_a_changed_message_is_read_or_refused(data: st.DataObject) -> None:
    """Bytes flipped, cut off and added, of real messages."""
    strategies = [(frontend.decode, s) for s in FRONTEND.values()]
    strategies += [(backend.decode, s) for s in BACKEND.values()]
    decode, strategy = data.draw(st.sampled_from(strategies))
    tag, body = parts(data.draw(strategy).encode())
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    try:
        decode(tag, bytes(changed[:cut]) + data.draw(st.binary(max_size=3)))
    except ProtocolError as error:
        assert str(error)


@given(st.binary(max_size=20), st.binary(max_size=20), st.sampled_from("?xé\0"))
def test_our_own_errors_can_always_be_sent(detail: bytes, hint: bytes, extra: str) -> None:
    """`of` never fails: what cannot be said is said otherwise."""
    message = detail.decode("latin-1") + extra
    error = notices.ErrorResponse.of("FATAL", "XX000", message, hint.decode("latin-1"), extra)
    again = notices.ErrorResponse.decode(error.encode()[5:])
    assert (again.severity, again.sqlstate) == ("FATAL", "XX000")


def test_a_notice_has_severity_and_text() -> None:
    notice = notices.NoticeResponse.of("WARNING", "01000", "beware")
    again = notices.NoticeResponse.decode(notice.encode()[5:])
    assert (again.severity, again.sqlstate, again.message) == ("WARNING", "01000", "beware")


def test_missing_fields_are_empty() -> None:
    error = notices.ErrorResponse(())
    assert (error.severity, error.sqlstate, error.message) == ("", "", "")
