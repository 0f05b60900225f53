"""``python -m invsmooth.records.dictionary RUN/results.parquet``: its columns, with type, unit and meaning, in Markdown."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from invsmooth.records.rows import TYPES

KINDS = {kind: name for name, kind in TYPES.items()}


def dictionary(schema: pa.Schema) -> str:
    """A Markdown table from the metadata of a file of rows."""
    lines = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for column in schema:
        said = {k.decode(): v.decode().replace("|", "\\|") for k, v in (column.metadata or {}).items()}
        kind = KINDS.get(column.type, str(column.type))
        lines.append(f"| `{column.name}` | {kind} | {said.get('unit', '')} | {said.get('description', '')} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        sys.exit("error: give a file of rows: python -m invsmooth.records.dictionary RUN/results.parquet")
    try:
        sys.stdout.write(dictionary(pq.read_schema(sys.argv[1])))
    except (pa.ArrowInvalid, OSError) as error:
        sys.exit(f"error: {sys.argv[1]} cannot be read: {error}")


if __name__ == "__main__":
    main()
