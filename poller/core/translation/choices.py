"""The choices among few words that the rules of translation offer."""

from typing import Literal

PresetName = Literal["rule", "spec"]
Frequency = Literal["always", "changes"]
Linked = Literal["at_hand", "search", "logged"]
