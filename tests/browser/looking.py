"""A window of a real browser on the live page, and the daemon behind the page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from poller.core.forward import Forwarded
from poller.service.watching.feed import Feed
from tests.browser.states import state_of
from tests.service.page.browsers import TOKEN, login, served, settled

PATIENCE_MS = 180_000.0
"""The longest wait for what must come. It suits a machine that is much slower."""
_WATCH = """
window.seen = [];
window.violations = [];
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
addEventListener("DOMContentLoaded", () => {
  const note = (changes) => {
    for (const row of changes.flatMap((change) => [...change.addedNodes])) {
      if (row.dataset?.settled) {
        seen.push(row.dataset.number);
      }
    }
  };
  new MutationObserver(note).observe(document.getElementById("rows"), { childList: true });
});
"""
"""Notes each row that appears, and each violation of the security policy."""


_SEVERE = {"serious", "critical"}


def severe(page: Page, axe: str) -> list[str]:
    """Return what axe-core finds serious or critical, with the elements."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(axe)
    found: dict[str, Any] = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in _SEVERE
        for node in rule["nodes"]
    ]


@dataclass(slots=True, kw_only=True)
class Window:
    """One window on the page."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    """The errors of the console. The test ends with none."""
    expected: str | None = None
    """A text of errors that the test causes."""

    @property
    def rows(self) -> Locator:
        return self.page.locator("#rows tr[data-number]")

    def open(self, view: str) -> None:
        """Open a view by its link."""
        self.page.locator(f'.views a[href="#{view}"]').click()
        expect(self.page.locator(f"#view-{view}")).to_be_visible()

    def open_row(self, text: str) -> Locator:
        """Open the newest row that holds a text, and return the details."""
        self.page.locator("#rows tr", has_text=text).first.locator("button").click()
        detail = self.page.locator("#detail")
        expect(detail).to_be_visible()
        return detail

    def rows_are(self, count: int) -> None:
        expect(self.rows).to_have_count(count)


@dataclass(slots=True, kw_only=True)
class Desk:
    """A daemon's feed and state, and the windows on its page."""

    feed: Feed = field(default_factory=lambda: Feed(now=lambda: datetime.now(UTC)))
    state: dict[str, Any] = field(default_factory=state_of)
    parts: dict[str, Any] = field(default_factory=dict)
    chromium: Browser
    origin: str = ""
    contexts: list[BrowserContext] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    def change(self, **values: Any) -> None:
        """Change the state. A viewer gets it within some seconds."""
        self.state = {**self.state, **values}

    def settle(self, *records: dict[str, Any], **how: Any) -> Forwarded:
        """Settle these records now, or one login."""
        forwarded = settled(*(records or (login(),)), **how)
        self.feed.count_settled(forwarded)
        return forwarded

    @contextmanager
    def serve(self, **parts: Any) -> Iterator[None]:
        """Serve the page."""
        with served(self.feed, **{"state": lambda: self.state, **self.parts, **parts}) as browser:
            self.origin = f"http://127.0.0.1:{browser.port}"
            yield

    def look(self, **options: Any) -> Window:
        """Open the page in a new window, by its link."""
        context = self.chromium.new_context(
            **{"timezone_id": "UTC", "viewport": {"width": 1440, "height": 900}, **options}
        )
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(_WATCH)
        self.contexts.append(context)
        window = Window(page=context.new_page(), origin=self.origin)
        self.windows.append(window)
        window.page.on("pageerror", lambda error: window.complaints.append(str(error)))
        window.page.on("console", lambda message: _note(window, message.type, message.text))
        window.page.goto(f"{self.origin}/?token={TOKEN}")
        expect(window.page.locator("#link-text")).to_have_text("Live")
        return window

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def _note(window: Window, kind: str, text: str) -> None:
    # The browser itself tells of each cut stream.
    is_expected = "net::ERR_" in text or (window.expected is not None and window.expected in text)
    if kind in {"error", "warning"} and not is_expected:
        window.complaints.append(text)
