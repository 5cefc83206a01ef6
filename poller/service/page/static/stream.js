// The stream of server-sent events. The browser connects again by itself after a cut.

import { announce, byId, setText } from "./text.js";

const LOST_AFTER_MS = 3000;

/** Open the stream, and hand on what comes. `on` has `opened`, `events` and `state`. */
export function openStream(on) {
  let source = null;
  let lostTimer = null;
  let hadBeenLost = false;

  function listen() {
    source = new EventSource("stream");
    source.addEventListener("open", opened);
    source.addEventListener("events", (event) => on.events(JSON.parse(event.data)));
    source.addEventListener("state", (event) => on.state(JSON.parse(event.data)));
    source.addEventListener("error", cut);
  }

  function opened() {
    clearTimeout(lostTimer);
    lostTimer = null;
    show("live", "Live");
    if (hadBeenLost) announce("The connection is back");
    hadBeenLost = false;
    on.opened();
  }

  function cut() {
    if (lostTimer === null) {
      show("connecting", "Reconnecting");
      lostTimer = setTimeout(lost, LOST_AFTER_MS);
    }
    // After an answer that is no stream (503, 401) the browser gives up, and we do not.
    if (source.readyState === EventSource.CLOSED) askAgain();
  }

  async function askAgain() {
    let reason = "";
    try {
      const answer = await fetch("state", { cache: "no-store" });
      if (answer.status === 401) reason = "Signed out: ask for a new link";
      else if (answer.ok) reason = "8 viewers look already";
    } catch {
      // Nobody answers: the daemon is down.
    }
    if (reason) show("lost", reason);
    setTimeout(listen, LOST_AFTER_MS);
  }

  function lost() {
    hadBeenLost = true;
    if (byId("link").dataset.state !== "lost") show("lost", "No connection");
    announce("The connection is lost. The page tries again.");
  }

  function show(state, text) {
    byId("link").dataset.state = state;
    setText(byId("link-text"), text);
  }

  listen();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
}
