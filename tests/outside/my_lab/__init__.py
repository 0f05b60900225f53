"""A package that is no part of invsmooth: one part of each kind. docs/extending.md shows these files."""
