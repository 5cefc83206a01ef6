"""The pages that people read: README, and all of docs/."""

import re

from tests.paths import ROOT

FILES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def page(name: str) -> str:
    """Return the text of one page under docs/."""
    return (ROOT / "docs" / name).read_text()


def shell_blocks(text: str) -> list[str]:
    """Return the shell commands of a page, a text for each block."""
    return re.findall(r"^ *```sh\n(.*?)```", text, re.DOTALL | re.MULTILINE)


def commands_under(heading: str, text: str) -> list[str]:
    """Return the lines of the shell commands in one section of a page."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for block in shell_blocks(section) for line in block.splitlines()]


def json_blocks(text: str) -> list[str]:
    """Return the JSON texts of a page, in order."""
    return re.findall(r"^```json\n(.*?)```", text, re.DOTALL | re.MULTILINE)


README = (ROOT / "README.md").read_text()
ALL = "\n\n".join(file.read_text() for file in FILES)
