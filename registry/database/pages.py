"""The pages of a database's tables, which prove that rows have not changed since a reading.

A table is a tree of pages. The leaves have the rows, in the order of the row ids, and the pages
above the leaves have the largest row id of each leaf. If a leaf has the same bytes as before, its
rows are the same, so SQLite need not read them again. This module decodes no row. The format of
the pages is documented at https://www.sqlite.org/fileformat2.html.

Only the database file is read. The newest content of a page may be in the write-ahead log, so each
page that the log has is unknown here. All other pages stay as they are during a read transaction:
a checkpoint copies only pages that the log has, and no writer begins the log anew while a reader
needs its pages.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from registry.dataclass import dataclass
from registry.storage.files.interruption import hand_on

_HEADER = 100
_LOG_HEADER, _FRAME_HEADER = 32, 24

# The kinds of pages, and where the list of cells begins. A cell of a leaf is a row.
_LEAF, _INNER = 0x0D, 0x05
_LEAF_CELLS, _INNER_CELLS = 8, 12

# SQLite's trees have fewer levels.
_LEVELS_AT_MOST = 20

# So many pages are read at a time.
_AT_A_TIME = 16

# A row that is larger than the usable size of a page without these bytes has further pages.
_NOT_FOR_ROWS = 35


class Leaf(NamedTuple):
    """A page with rows of a table.

    Attributes:
        number: The number of the page.
        last: The largest row id that the page may have; None for the last page of the table.
        page: The content of the page; None if it is unknown.
    """

    number: int
    last: int | None
    page: bytes | None


@dataclass(frozen=True, slots=True)
class PageFormat:
    """What the bytes of a page mean.

    Attributes:
        size: The size of a page in bytes.
        usable: The size without the bytes at the end that SQLite does not use.
        encoding: The number of the encoding of all texts.
    """

    size: int
    usable: int
    encoding: int

    @classmethod
    def of(cls, header: bytes) -> PageFormat | None:
        """Returns the format that the first bytes of a database name; None for an invalid one."""
        if len(header) < _HEADER or not header.startswith(b"SQLite format 3\0"):
            return None
        (size,) = struct.unpack_from(">H", header, 16)
        size = 65536 if size == 1 else size
        (encoding,) = struct.unpack_from(">I", header, 56)
        return cls(size, size - header[20], encoding) if size >= 512 else None


class Pages:
    """The pages of a database, as one read transaction sees them.

    Args:
        read: Reads the database file; the arguments are the number of bytes, and the place.
        in_log: The numbers of all pages that the write-ahead log may have.
    """

    def __init__(self, read: Callable[[int, int], bytes], in_log: frozenset[int]) -> None:
        # The first page has the header.
        header = b"" if 1 in in_log else read(_HEADER, 0)
        self.format = PageFormat.of(header)
        self._read = read
        self._in_log = in_log
        self._block: tuple[int, bytes] = -1, b""

    def leaves(self, root: int) -> list[Leaf]:
        """Returns the leaves of a table, in order.

        Args:
            root: The number of the page at the root of the table's tree.

        Returns:
            An empty list if a page above the leaves is unknown, or is not as SQLite writes it.
        """
        level = [Leaf(root, None, self._page(root))]
        for _ in range(_LEVELS_AT_MOST):
            kinds = {page[0] for _, _, page in level if page is not None}
            if kinds == {_LEAF}:
                # All leaves of a tree are at the same level, so an unknown page is a leaf too.
                return level
            if kinds != {_INNER}:
                break
            below: list[tuple[int, int | None]] = []
            for _, last, page in level:
                if page is None:
                    return []
                below += _children(page, last)
            if not below or not _is_in_order(below):
                break
            level = [Leaf(number, last, self._page(number)) for number, last in below]
        return []

    def rows_on(self, leaf: Leaf) -> int | None:
        """Returns the number of rows on a leaf; None if other pages, too, have parts of them."""
        if leaf.page is None or self.format is None:
            return None
        largest = self.format.usable - _NOT_FOR_ROWS
        try:
            return _rows_on(leaf.page, largest)
        except (IndexError, struct.error) as error:
            hand_on(error)
            return None

    def _page(self, number: int) -> bytes | None:
        if number < 1 or number in self._in_log or self.format is None:
            return None
        size = self.format.size
        block, place = divmod(number - 1, _AT_A_TIME)
        if self._block[0] != block:
            self._block = block, self._read(size * _AT_A_TIME, size * _AT_A_TIME * block)
        page = self._block[1][place * size : (place + 1) * size]
        return page if len(page) == size else None


def pages_in(log: bytes) -> frozenset[int] | None:
    """Returns the numbers of all pages that a write-ahead log has, also those of old frames.

    Returns:
        None if the log is not as SQLite writes it.
    """
    if len(log) <= _LOG_HEADER:
        return frozenset()
    (size,) = struct.unpack_from(">I", log, 8)
    if not 512 <= size <= 65536:
        return None
    frames = memoryview(log)[_LOG_HEADER:]
    # No reader sees a frame that is incomplete.
    whole = len(frames) - len(frames) % (_FRAME_HEADER + size)
    numbers = struct.iter_unpack(f">I{_FRAME_HEADER - 4 + size}x", frames[:whole])
    return frozenset(number for (number,) in numbers)


@functools.lru_cache(maxsize=64)
def _children(page: bytes, last: int | None) -> tuple[tuple[int, int | None], ...]:
    """Returns the pages below a page of a table, each with its largest row id; none if invalid."""
    try:
        cells = struct.unpack_from(f">{_cell_count(page)}H", page, _INNER_CELLS)
        children: list[tuple[int, int | None]] = [
            (int.from_bytes(page[cell : cell + 4], "big"), _row_id(page, cell + 4))
            for cell in cells
        ]
    except (IndexError, struct.error) as error:
        hand_on(error)
        return ()
    return (*children, (int.from_bytes(page[8:12], "big"), last))


def _is_in_order(level: list[tuple[int, int | None]]) -> bool:
    """Returns whether the row ids rise, only the last one is unknown, and no page is twice."""
    numbers = {number for number, _ in level}
    rising = all(a is not None and (b is None or a < b) for (_, a), (_, b) in pairwise(level))
    return rising and len(numbers) == len(level) and min(numbers) > 1


def _rows_on(page: bytes, largest: int) -> int | None:
    count = _cell_count(page)
    for cell in struct.unpack_from(f">{count}H", page, _LEAF_CELLS):
        size = page[cell]
        if size >= 0x80:
            size = (size & 0x7F) << 7 | page[cell + 1]
            # A larger number has further bytes. Few pages are that large.
            if page[cell + 1] >= 0x80:
                return None
        if size > largest:
            return None
    return count


def _cell_count(page: bytes) -> int:
    return page[3] << 8 | page[4]


def _row_id(page: bytes, at: int) -> int:
    """Returns a number of up to nine bytes, as SQLite stores it."""
    number = 0
    for place in range(at, at + 8):
        number = number << 7 | (page[place] & 0x7F)
        if page[place] < 0x80:
            return number
    number = number << 8 | page[at + 8]
    return number - (1 << 64) if number >> 63 else number
