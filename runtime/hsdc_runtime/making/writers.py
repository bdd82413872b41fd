"""Files of rows, the same bytes for the same rows: JSON lines and Parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import starmap
from pathlib import Path
from typing import Any

import msgspec

from hsdc_runtime.making.kept import Columns
from hsdc_schemas.digests import PREFIX, digest_file

GROUP = 65536  # rows of one group of a Parquet file


class JsonLines:
    """A JSON object a line."""

    def __init__(self, path: Path, names: Sequence[str] = ()) -> None:
        self.path, self.rows = path, 0
        self._file, self._digest = path.open("wb"), sha256()
        self._encode = msgspec.json.Encoder().encode_lines
        places = [f"f{number}" for number in range(len(names))]
        self._row = msgspec.defstruct("Row", places, rename=dict(zip(places, names, strict=True)), gc=False)

    def add(self, rows: Sequence[Columns]) -> None:
        """Rows as columns, with the names that were given."""
        self.add_objects(list(starmap(self._row, rows)))

    def add_objects(self, found: Sequence[Any]) -> None:
        """Whole objects."""
        data = self._encode(found)
        self._digest.update(data)
        self._file.write(data)
        self.rows += len(found)

    def release(self) -> None:
        """Let go of the file, whole or not."""
        self._file.close()

    def close(self) -> str:
        """The digest of the file."""
        self._file.close()
        return f"{PREFIX}{self._digest.hexdigest()}"


class Parquet:
    """A column for each of the rows'; groups of rows are cut by number, whatever came at once."""

    def __init__(self, path: Path, types: Mapping[str, str]) -> None:
        import pyarrow as arrow  # weight that few runs need
        from pyarrow import parquet

        known = {"text": arrow.string(), "number": arrow.float64(), "integer": arrow.int64(), "truth": arrow.bool_()}
        known["texts"] = arrow.list_(arrow.string())
        self.path, self.rows, self._held = path, 0, list[Columns]()
        self._arrow, self._kinds = arrow, [known[kind] for kind in types.values()]
        self._schema = arrow.schema(list(zip(types, self._kinds, strict=True)))
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def add(self, rows: Sequence[Columns]) -> None:
        """Rows as columns."""
        self.rows += len(rows)
        self._held += rows
        while len(self._held) >= GROUP:
            self._flush(self._held[:GROUP])
            del self._held[:GROUP]

    def _flush(self, rows: Sequence[Columns]) -> None:
        columns = zip(*rows, strict=True)
        arrays = [self._arrow.array(values, kind) for values, kind in zip(columns, self._kinds, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema), row_group_size=GROUP)

    def release(self) -> None:
        """Let go of the file, whole or not."""
        self._writer.close()

    def close(self) -> str:
        """The digest of the file."""
        if self._held:
            self._flush(self._held)
        self._writer.close()
        return digest_file(self.path)[0]
