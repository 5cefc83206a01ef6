"""The ledger in a SQL database, which is SQLite so far.

Import from the modules. This one imports none of them, so `status` loads only the reader.
"""
