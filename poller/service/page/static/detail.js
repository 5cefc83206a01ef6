// One opened event: its facts, its calls, and with `show = "all"` its record beside them.

import {
  byId, copyButton, fullTime, lasting, make, outcomeSign, reasonWithCode, typeMeaning, withCode,
} from "./text.js";

const MOST_SHOWN = 60_000;
const WORKERS = {
  live: "live polling", late: "the second reading, which looks for late events",
  catch_up: "the catch-up after an outage", backfill: "a backfill",
  gap: "a gap that could be read after all", resend: "a redelivery",
};

/** The panel beside the table. `beside` finds the neighbours of an event. */
export class Detail {
  constructor({ beside, moved, closed }) {
    this.panel = byId("detail");
    this.beside = beside;
    this.moved = moved;
    this.closed = closed;
    this.number = null;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.number !== null && !byId("ask").open) this.close();
    });
  }

  async open(number) {
    this.number = number;
    const answer = await fetch(`events/${number}`, { cache: "no-store" }).catch(() => null);
    if (this.number !== number) return; // another row was opened meanwhile
    const content = answer?.ok
      ? this.content(await answer.json())
      : [make("p", {}, ...withCode(answer?.status === 404
        ? "The daemon keeps the newest events only. This one is gone. `auth0-segment-poller trace` finds it."
        : "The daemon does not answer now."))];
    this.panel.replaceChildren(this.header(number), ...content);
    this.panel.hidden = false;
    this.panel.parentElement.classList.add("open");
    byId("detail-title").focus();
  }

  close() {
    const { number } = this;
    this.number = null;
    this.panel.hidden = true;
    this.panel.replaceChildren();
    this.panel.parentElement.classList.remove("open");
    this.closed(number);
  }

  header(number) {
    const step = (label, by) => {
      const button = make("button", { type: "button", class: "small" }, label);
      button.disabled = this.beside(number, by) === undefined;
      button.addEventListener("click", () => {
        const next = this.beside(number, by);
        if (next !== undefined) this.moved(next);
      });
      return button;
    };
    return make("header", {},
      make("h2", { id: "detail-title", tabindex: "-1" }, `Event ${number}`),
      step("Newer", 1), step("Older", -1),
      make("button", { type: "button", class: "small", onclick: () => this.close() }, "Close"));
  }

  content(event) {
    const bodies = event.bodies.map((body) => bodyOf(body.name, body, body.message_id));
    const record = event.record ? bodyOf("Record of Auth0", event.record) : null;
    const beside = record && bodies.length;
    return [
      factsOf(event),
      bodies.length || record ? null : make("p", { class: "dim" }, ...withCode(withoutBodies(event))),
      make("div", { class: beside ? "bodies beside" : "bodies" },
        make("div", { class: "bodies" }, ...bodies), record),
    ].filter(Boolean);
  }
}

function withoutBodies(event) {
  if (event.outcome === "filtered") return "Nothing was sent for this event.";
  return 'Nothing of this event has left. The page shows its record with `page.show = "all"`.';
}

function factsOf(event) {
  const outcome = make("span", {}, outcomeSign(event.outcome));
  if (event.reason) outcome.append(make("span", { class: "why" }, reasonWithCode(event.reason)));
  if (event.status) outcome.append(make("span", { class: "why" }, `HTTP ${event.status}`));
  const id = make("span", {}, make("code", {}, event.log_id), " ",
    copyButton(() => event.log_id, "Copy", "Copy the log id"));
  const meaning = typeMeaning(event.type);
  return facts([
    ["Outcome", outcome],
    ["Type", meaning ? `${event.type} · ${meaning}` : event.type],
    ["User", event.user], ["Application", event.application], ["Connection", event.connection],
    ["Happened", fullTime(event.date)],
    ["Settled", `${fullTime(event.settled_at)}, at an age of ${lasting(event.age_s)}`],
    ["By", WORKERS[event.worker] ?? event.worker],
    ["Log id", id],
  ]);
}

/** Return a list of names and values. Values that are not known are left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", { class: "facts" },
    ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/** Return a JSON value with a choice of two forms, and a button that copies the form shown. */
export function bodyOf(name, { pretty, raw }, messageId = null) {
  const shown = make("pre", { tabindex: "0", role: "region", "aria-label": `${name}, as JSON` });
  let text = pretty;
  const choose = (isRaw) => {
    text = isRaw ? raw : pretty;
    shown.className = isRaw ? "raw" : "";
    shown.replaceChildren(...coloured(text.slice(0, MOST_SHOWN)));
    if (text.length > MOST_SHOWN) {
      shown.append(`\n… ${text.length - MOST_SHOWN} more characters. Copy takes them all.`);
    }
    choices.forEach((button, at) => button.setAttribute("aria-pressed", String((at === 1) === isRaw)));
  };
  const choices = ["Pretty", "Raw"].map((label, at) => make("button",
    { type: "button", class: "small", onclick: () => choose(at === 1) }, label));
  choose(false);
  return make("section", { class: "body", "aria-label": name },
    make("div", {}, make("h3", {}, name),
      make("span", { class: "choice", role: "group", "aria-label": "Form" }, ...choices),
      copyButton(() => text, "Copy", `Copy ${name}`),
      messageId ? copyButton(() => messageId, "Copy id", `Copy id of ${name}`) : null),
    shown);
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Return JSON text as nodes: names, texts and other values each in their colour. */
function coloured(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    nodes.push(text.slice(at, match.index));
    const kind = match[2] ? "j-key" : match[1] ? "j-text" : "j-other";
    nodes.push(make("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    at = match.index + match[0].length;
  }
  nodes.push(text.slice(at));
  return nodes;
}

