"""All calls of a time as Parquet, a table that DuckDB, pandas, Spark and others read; it takes the extra `parquet`.

Source of the format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from kmodlab.errors import LabError

from .tick import Row

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 16_384
"""Rows of a group, which is what is in memory at once: some 20 MB; larger ones make the file hardly smaller."""
_MICROSECONDS = 1_000_000


def _check() -> None:
    """See whether Parquet can be written, before anything is."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415  # 55 MB, of which only who wants Parquet has need
    except ImportError as error:
        raise LabError(
            "Parquet takes the Python package pyarrow, which is not installed",
            hint="pip install 'kmodlab[parquet]', or --format csv",
        ) from error


def schema() -> pa.Schema:
    """Return the columns: the fields of a call, by the names that JSON Lines and CSV have, each with its type."""
    import pyarrow as pa  # noqa: PLC0415

    word, number = pa.dictionary(pa.int32(), pa.string()), pa.int64()
    columns = {
        "epoch": pa.int32(), "cpu": pa.int32(), "seq": number, "clock": number,
        "wall": pa.timestamp("us", tz="UTC"), "pid": pa.uint32(), "tid": pa.uint32(), "ppid": pa.uint32(),
        "uid": pa.uint32(), "comm": word, "call": word, "arguments": pa.list_(pa.string()), "status": word,
        "enforced": pa.bool_(), "returned": number, "latency": number,
    }  # fmt: skip
    nullable = ("returned", "latency")
    return pa.schema([pa.field(name, kind, name in nullable) for name, kind in columns.items()])


def write(rows: Iterable[Row], out: IO[bytes], group: int = GROUP) -> int:
    """Write calls, as they come, a group at a time; return how many.

    Args:
        rows: calls.
        out: a file of bytes.
        group: rows that are in memory at once.

    Raises:
        LabError: the library is not there.
    """
    _check()
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    number, of, left = 0, schema(), iter(rows)
    with pq.ParquetWriter(out, of, compression="zstd") as writer:
        while some := list(itertools.islice(left, group)):
            writer.write_batch(pa.record_batch(list(_columns(some, of)), schema=of), row_group_size=group)
            number += len(some)
            # Or the next group would be made beside this one.
            some.clear()
    return number


def _columns(rows: list[Row], of: pa.Schema) -> Iterator[pa.Array]:
    import pyarrow as pa  # noqa: PLC0415

    for field in of:
        values = [getattr(row, field.name) for row in rows]
        if field.name == "wall":
            values = [round(value * _MICROSECONDS) for value in values]
        yield pa.array(values, field.type)
