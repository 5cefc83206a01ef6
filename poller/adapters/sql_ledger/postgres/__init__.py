"""A ledger in PostgreSQL: address, connection, tables, lease."""
