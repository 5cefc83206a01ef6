"""Groups of commands, which suggest a command for a mistyped name."""

import click

NAME = "auth0-segment-poller"
_LONGEST_SENTENCE = 1000


class SuggestingGroup(click.Group):
    """A group that suggests the names that are close to a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, or fail with a suggestion."""
        names = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in names:
            from difflib import get_close_matches  # noqa: PLC0415 - only after a mistake

            close = get_close_matches(args[0], names, cutoff=0.5)
            help_ = f"the commands are {', '.join(names)}"
            if close:
                help_ = f"did you mean {' or '.join(close)}?"
            ctx.fail(f"No such command '{args[0]}': {help_}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, each with the whole first sentence of its help."""
        rows = [
            (name, command.get_short_help_str(_LONGEST_SENTENCE))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def examples(*lines: str) -> str:
    """Return the end of a help text: command lines as people type them."""
    return "\n".join(["\b", "Examples:", *(f"  {NAME} {line}" for line in lines)])
