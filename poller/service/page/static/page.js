// The start of the page: the views, the zone of times, and the stream between them.

import { Detail } from "./detail.js";
import { EventTable } from "./events.js";
import { History } from "./history.js";
import { LetterView } from "./letters.js";
import { NowView } from "./now.js";
import { openStream } from "./stream.js";
import { byId, setText, setUtc, showsUtc } from "./text.js";
import { TimeView } from "./time.js";

const VIEWS = { live: "Live events", time: "Over time", now: "Now", letters: "Dead letters" };
const RESIZED_MS = 150;

const table = new EventTable((number) => detail.open(number));
const detail = new Detail({
  beside: (number, step) => table.beside(number, step),
  moved: (number) => table.openRow(number),
  closed: (number) => { table.mark(null); table.focus(number); },
});
const history = new History();
const views = [new TimeView(history), new NowView(history), new LetterView()];
let state = null;
let run = null;

function showState() {
  if (state) for (const view of views) view.show(state);
}

function showView() {
  const asked = location.hash.slice(1);
  const name = asked in VIEWS ? asked : "live";
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll(".views a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name]} · ${state?.settings?.domain ?? "auth0-segment-poller"}`;
  showState();
}

function showZone() {
  setText(byId("zone"), showsUtc() ? "UTC" : "Local time");
}

byId("zone").addEventListener("click", () => {
  setUtc(!showsUtc());
  showZone();
  table.draw();
  showState();
});

let resizing;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(showState, RESIZED_MS);
});
addEventListener("hashchange", showView);
showZone();
showView();
openStream({
  events(found) {
    // Another run of the daemon numbers its events anew, and knows nothing of the earlier ones.
    if (run !== null && found.run !== run) table.forget();
    run = found.run;
    table.add(found);
  },
  opened: () => history.load(),
  state(found) {
    state = found;
    history.add(found.sample);
    showState();
  },
});
