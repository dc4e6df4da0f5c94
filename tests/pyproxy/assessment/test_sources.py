"""Where an assessment reads its statements."""

from pathlib import Path

from pyproxy.assessment import sources


def test_a_file_of_psql_is_read_without_what_psql_keeps_to_itself() -> None:
    """As `pyproxy explain --file` does: the statement behind it was taken for a part of it."""
    text = "\\connect app\nSET a TO 1;\nCOPY t FROM stdin;\n1\n\\.\nLISTEN a;\n"
    recording = sources.of_sql(Path("dump.sql"), text)
    assert [statement.text for statement in recording.statements] == [
        "SET a TO 1",
        "COPY t FROM stdin",
        "LISTEN a",
    ]
