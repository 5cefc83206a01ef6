"""The ledger in a SQL database, which is SQLite so far.

Import from the modules. This one imports none of them, so that `status` loads only the reader.
"""
