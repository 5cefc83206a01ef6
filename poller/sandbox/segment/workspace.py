"""A simulated Segment workspace: its sources, and the tokens of its Public API."""

from typing import Any

from poller.sandbox.segment.source import Source

READ_SOURCES, READ_PLANS, ADMIN = "Source Read-only", "Tracking Plan Read-only", "Source Admin"
READ_USERS = "End User Privacy Admin"
SOURCE_ID, PLAN_ID = "src_sandbox", "tp_sandbox"


class SimulatedWorkspace:
    """The workspace of one source. Tests and the control API change the fields.

    `roles` are the roles of the only token. A token without roles is a Workspace Member, which may
    see only the workspace. `other_sources` is the number of further sources, which fill the pages
    of a list. `points` is the number of requests that the token may make in a minute.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = "Sandbox"
        self.source_name = "Auth0 logins"
        self.api_token = "sandboxApiToken" + "0" * 17
        self.roles = {READ_SOURCES, READ_PLANS}
        self.other_sources = 0
        self.has_plan = False
        self.warehouses = ["Snowflake"]
        self.points = 200

    def source_object(self, source_id: str) -> dict[str, Any] | None:
        """Return a source in the form of the Public API, or None if no source has this id."""
        return next((each for each in self.source_objects() if each["id"] == source_id), None)

    def source_objects(self) -> list[dict[str, Any]]:
        """Return all sources, this one last."""
        others = [
            self._shown(f"src_{number}", f"Other {number}", ["x" * 32], is_enabled=True)
            for number in range(self.other_sources)
        ]
        keys = sorted(self.source.write_keys)
        own = self._shown(SOURCE_ID, self.source_name, keys, is_enabled=self.source.is_enabled)
        return [*others, own]

    def connections(self, names: list[str]) -> list[dict[str, Any]]:
        """Return destinations or warehouses of these names."""
        return [
            {"id": f"conn_{name}", "enabled": True, "name": "", "metadata": {"name": name}}
            for name in names
        ]

    def _shown(
        self, source_id: str, name: str, keys: list[str], *, is_enabled: bool
    ) -> dict[str, Any]:
        return {
            "id": source_id,
            "slug": name.lower().replace(" ", "_"),
            "name": name,
            "workspaceId": "ws_sandbox",
            "enabled": is_enabled,
            "writeKeys": keys if ADMIN in self.roles else [],
            "metadata": {"id": "m", "slug": "http-api", "name": "HTTP API", "categories": []},
            "settings": {},
            "labels": [],
        }
