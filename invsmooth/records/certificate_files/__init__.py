"""Certificate files: JSON beside the rows from which every certified number follows again
(docs/theory.md).

Only ``record``, which turns certificates into the file's content, and ``rerun`` need torch."""
