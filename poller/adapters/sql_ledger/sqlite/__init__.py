"""The database file: driver, lock, migrations, backup."""
