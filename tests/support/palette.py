"""A PNG with 256 colours at most: a picture of a page is a tenth as large so, and looks the same.

    path.write_bytes(with_palette(page.screenshot()))

Reads what a browser writes: eight bits, RGB or RGBA, not interlaced.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 256
COMMON = 160
# The square of a distance between two colours that are not alike.
UNLIKE = 400


def with_palette(png: bytes) -> bytes:
    """The same picture, its rarer colours replaced by the nearest of the common ones."""
    chunks = dict(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack("!IIBBBBB", chunks[b"IHDR"])
    assert depth == 8, depth
    assert kind in (2, 6), kind
    assert not interlaced
    step = 3 if kind == 2 else 4
    rows = [
        [row[at : at + 3] for at in range(0, len(row), step)]
        for row in map(bytes, _rows(zlib.decompress(chunks[b"IDAT"]), width * step, step))
    ]
    counted = Counter(pixel for row in rows for pixel in row)
    palette = _choose([colour for colour, _ in counted.most_common()])
    number = {colour: index for index, colour in enumerate(palette)}
    for colour in counted:
        if colour not in number:
            number[colour] = number[min(palette, key=lambda known: _distance(known, colour))]
    data = b"".join(b"\0" + bytes(number[pixel] for pixel in row) for row in rows)
    header = struct.pack("!IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return SIGNATURE + b"".join(
        _chunk(name, body)
        for name, body in (
            (b"IHDR", header),
            (b"PLTE", b"".join(palette)),
            (b"IDAT", zlib.compress(data, 9)),
            (b"IEND", b""),
        )
    )


def _choose(colours: list[bytes]) -> list[bytes]:
    """The common ones, and of the rare those that are like none of them: a small sign's colour."""
    palette = colours[:COMMON]
    for colour in colours[COMMON:]:
        if len(palette) == COLOURS:
            break
        if min(_distance(known, colour) for known in palette) > UNLIKE:
            palette.append(colour)
    return palette


def _distance(one: bytes, two: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, two, strict=True))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk, the pieces of the picture glued."""
    assert png.startswith(SIGNATURE)
    at, picture = len(SIGNATURE), b""
    while at < len(png):
        (size,) = struct.unpack_from("!I", png, at)
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += size + 12
        if name == b"IDAT":
            picture += body
        else:
            yield name, body
    yield b"IDAT", picture


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + name + body + struct.pack("!I", zlib.crc32(name + body))


def _rows(data: bytes, size: int, step: int) -> Iterator[bytearray]:
    """Undo the filters, as PNG (Third Edition) has them under "Filtering"."""
    above = bytearray(size)
    for start in range(0, len(data), size + 1):
        kind, row = data[start], bytearray(data[start + 1 : start + 1 + size])
        for i in range(size) if kind else ():
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            guess = (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))
            row[i] = (row[i] + guess[kind]) & 0xFF
        yield row
        above = row


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))
