"""Records of a Parquet file: one column, page by page, a few rows at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from llmcloud_data.rejections import Rejection

BATCH_ROWS: Final = 64
BUFFER_BYTES: Final = 1024 * 1024


def parquet_records(file: Path, column: str) -> Iterator[bytes | Rejection]:
    """The values of a column of strings. Memory is bounded by the file's own page size.

    Values are taken as bytes: a writer may have put into a string column what is no UTF-8.
    """
    try:
        with pq.ParquetFile(
            file, buffer_size=BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        ) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            problem = _problem(schema, column)
            if problem is not None:
                yield from (problem for _ in range(rows))
                return
            for batch in parquet.iter_batches(BATCH_ROWS, columns=[column], use_threads=False):
                for value in batch.column(0).cast(pa.large_binary()).to_pylist():
                    yield Rejection.MISSING_FIELD if value is None else value
    except pa.ArrowException:
        yield Rejection.CORRUPT
    except OSError as error:
        if error.errno is not None:
            raise
        yield Rejection.CORRUPT


def _problem(schema: pa.Schema, column: str) -> Rejection | None:
    if column not in schema.names:
        return Rejection.MISSING_FIELD
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return None if text else Rejection.NOT_TEXT
