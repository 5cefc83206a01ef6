"""The tables, and the statements of one table each."""
