"""One module per command. `COMMANDS` in cli/__init__.py lists the commands."""
