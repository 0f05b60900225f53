"""Small copies of run folders for docs/models/rows, from which the table of docs/robustness.md is made:

    ``python -m tests.benchmarks.robustness_rows 'robustness/*' docs/models/rows``

Of results.parquet what its certifiers and algorithms declare, compressed; config.yaml; of run.json what names no machine."""

from __future__ import annotations

import glob
import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from invsmooth.records.rows import METADATA, Declared, read_rows
from invsmooth.reporting.runs import flat

KEPT = ("status", "parameters", "seed", "versions", "seconds")


def copy(run: Path, out: Path) -> None:
    """Raises: ValueError: config.yaml has an absolute path."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    if paths := [f"{key}={value}" for key, value in flat(config) if str(value).startswith("/")]:
        raise ValueError(f"{run}: {', '.join(paths)}: evaluate with relative paths")
    rows, declared = read_rows([run])
    own = Declared(
        {name: declared.certifiers[name] for name in sorted(rows["certifier"].unique())},
        {name: declared.algorithms[name] for name in sorted(rows["algo"].unique())},
    )
    schema = own.schema
    table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    assert schema.metadata is not None
    small = table.replace_schema_metadata({METADATA: schema.metadata[METADATA]})
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(small, out / "results.parquet", compression="zstd", compression_level=19, write_statistics=False)
    shutil.copy(run / "config.yaml", out / "config.yaml")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    kept = json.dumps({key: record[key] for key in KEPT if key in record}, indent=2)
    (out / "run.json").write_text(kept + "\n", encoding="utf-8")


def main() -> None:
    for found in sorted(glob.glob(sys.argv[1])):
        copy(Path(found), Path(sys.argv[2]) / Path(found).name)


if __name__ == "__main__":
    main()
