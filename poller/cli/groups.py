"""Groups of commands: a mistyped one is answered with the ones that come near, and each shows examples."""

from difflib import get_close_matches

import click

NAME = "auth0-segment-poller"


class Suggesting(click.Group):
    """A group that names the commands that come near to one that there is not."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            near = get_close_matches(args[0], known, cutoff=0.5)
            did_you = (
                f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
            )
            ctx.fail(f"No such command '{args[0]}': {did_you}")
        return super().resolve_command(ctx, args)


def examples(*lines: str) -> str:
    """Return the end of a help text: command lines as they can be typed."""
    return "\n".join(["\b", "Examples:", *(f"  {NAME} {line}" for line in lines)])
