"""Certificate files: JSON beside the rows from which every certified number follows again
(docs/theory.md).

``format`` reads and writes them, ``fields`` knows what belongs in them, ``arithmetic`` recomputes
the bounds; these need no torch. ``record`` turns certificates into the file's content and ``rerun``
draws them again."""
