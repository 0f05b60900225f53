"""The study of docs/study.md: what is kept of its runs, and what follows from its rows."""
