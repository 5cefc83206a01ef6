"""The expressions of the settings, as the rules of translation see them."""

from collections.abc import Mapping
from typing import Any, Protocol


class Expression(Protocol):
    """A pure function of a profile and a record. Either may be anything that JSON can be."""

    @property
    def user_fields(self) -> frozenset[str] | None:
        """The fields of the profile that the expression looks at. None stands for any field."""
        ...

    @property
    def names_user(self) -> bool:
        """True if the expression looks at the profile at all."""
        ...

    @property
    def names_log(self) -> bool:
        """True if the expression looks at the event at all."""
        ...

    def of(self, user: Mapping[str, Any] | None, log: Mapping[str, Any]) -> Any:
        """Return the value of the expression. `user` is None if there is no profile.

        Raises:
            ValueError: the expression cannot be evaluated, for example a text function on a number.
        """
        ...


Lines = Mapping[str, Expression | None]
"""Traits or properties from the settings, which replace the preset's. None removes one."""
