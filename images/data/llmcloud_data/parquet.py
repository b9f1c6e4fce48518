"""Records of a Parquet file: some columns, page by page, a few rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from llmcloud_data.examples import Value
from llmcloud_data.rejections import Rejection

BATCH_ROWS: Final = 64
BUFFER_BYTES: Final = 1024 * 1024


def parquet_records(file: Path, columns: Sequence[str]) -> Iterator[tuple[Value, ...] | Rejection]:
    """The values of columns. Memory is bounded by the file's own page size.

    Strings are taken as bytes: a writer may have put into a string column what is no UTF-8.
    """
    try:
        with pq.ParquetFile(
            file, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as parquet:
            if not set(columns) <= set(parquet.schema_arrow.names):
                yield from (Rejection.MISSING_FIELD for _ in range(parquet.metadata.num_rows))
                return
            wanted = list(dict.fromkeys(columns))
            for batch in parquet.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                # Of several columns of one name, the first.
                places = [batch.schema.names.index(column) for column in columns]
                yield from _rows([_bytes(batch.column(place)) for place in places])
    except pa.ArrowException:
        yield Rejection.CORRUPT
    except OSError as error:
        if error.errno is not None:
            raise
        yield Rejection.CORRUPT


def _rows(columns: list[pa.Array]) -> Iterator[tuple[Value, ...] | Rejection]:
    for row in zip(*columns, strict=True):
        try:
            yield tuple(value.as_py() for value in row)
        except UnicodeDecodeError:  # within a list or a structure
            yield Rejection.INVALID_UTF8


def _bytes(column: pa.Array) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return column.cast(pa.large_binary()) if text else column
