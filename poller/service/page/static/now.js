// "Now": what the daemon does, what stops it, and where it stands. Also the figures on top.

import { facts } from "./detail.js";
import {
  announce, byId, copyButton, counted, fullTime, lasting, make, number, reasonText, setText, sign,
} from "./text.js";

/** Return the state in words: a shape, a word and a tone. */
export function conditionOf(state, stream) {
  if (state.problem) return ["ledger not readable", "!", "bad"];
  if (stream?.blocked) return ["blocked", "✕", "bad"];
  if (stream?.last_error) return ["postponed", "!", "warn"];
  if (stream?.backlog) return ["catching up", "»", "warn"];
  return ["running", "✓", "good"];
}

export class NowView {
  constructor() {
    this.condition = "";
    this.drawn = "";
  }

  show(state) {
    const streams = state.status?.streams ?? [];
    const stream = streams.find((each) => each.blocked) ?? streams[0];
    this.showFigures(state, streams, stream);
    this.showAlarm(state, stream);
    this.showCards(state, streams);
  }

  showFigures(state, streams, stream) {
    const [text, mark, tone] = conditionOf(state, stream);
    if (this.condition !== text) {
      byId("figure-daemon").replaceChildren(sign(text, mark, tone));
      if (this.condition) announce(`The daemon is ${text} now`);
      this.condition = text;
    }
    const last = state.history?.at(-2) ?? state.history?.at(-1);
    const limit = state.limits?.[0];
    const letters = streams.reduce((sum, each) => sum + each.dead_letters, 0);
    const gaps = streams.reduce((sum, each) => sum + each.gaps.length, 0);
    setText(byId("figure-freshness"), lasting(stream?.freshness_s));
    setText(byId("figure-backlog"), stream?.backlog ? lasting(stream.backlog.time_left_s) : "none");
    setText(byId("figure-rate"), last ? number(last.forwarded + last.filtered + last.dead_lettered) : "–");
    setText(byId("figure-limit"), limit ? `${number(limit.left)} of ${number(limit.limit)}` : "–");
    setText(byId("figure-letters"), number(letters));
    setText(byId("figure-gaps"), number(gaps));
    byId("figure-letters").className = letters ? "bad" : "";
    byId("figure-gaps").className = gaps ? "bad" : "";
    const badge = byId("letter-badge");
    badge.hidden = letters === 0;
    setText(badge, number(letters));
  }

  /** Show what needs somebody, on every view. It is drawn again only if it differs. */
  showAlarm(state, stream) {
    const found = alarmOf(state, stream);
    const text = JSON.stringify(found);
    if (text === this.alarm) return;
    this.alarm = text;
    const alarm = byId("alarm");
    alarm.hidden = found === null;
    if (found === null) return;
    alarm.className = found.isSoft ? "alarm soft" : "alarm";
    alarm.replaceChildren(make("h2", {}, found.title),
      ...found.lines.filter(Boolean).map((line) => make("p", {}, line)),
      ...found.commands.map((command) => make("p", { class: "type-this" },
        make("span", {}, "Type"), make("code", {}, command), copyButton(() => command, "Copy", `Copy ${command}`))));
  }

  showCards(state, streams) {
    const text = JSON.stringify([state.status, state.truth, state.limits, state.retention_s, state.position_age_s]);
    if (text === this.drawn || byId("view-now").hidden || isBusy(byId("now"))) return;
    this.drawn = text;
    byId("now").replaceChildren(make("div", { class: "cards" },
      processCard(state, streams),
      ...streams.flatMap((stream) => [
        positionCard(state, stream), progressCard(stream), countsCard(stream), gapsCard(stream)].filter(Boolean)),
      limitCard(state), ...truthCards(state)));
  }
}

/** Return whether somebody uses a part now, so that it must not be replaced under the hand. */
const isBusy = (part) => part.contains(document.activeElement)
  || (String(getSelection()) !== "" && part.contains(getSelection().anchorNode));

function alarmOf(state, stream) {
  if (state.problem) return { title: "The ledger cannot be read now", lines: [state.problem], commands: [] };
  const blocked = stream?.blocked;
  if (blocked) {
    return {
      title: `Blocked${blocked.since ? ` since ${fullTime(blocked.since)}` : ""}`,
      lines: [`${blocked.code ? `error[${blocked.code}]: ` : ""}${blocked.reason}`, blocked.hint,
        "The position stands still, nothing is lost, and the daemon keeps trying."],
      commands: commandsOf(blocked.hint),
    };
  }
  if (stream?.last_error) {
    return {
      title: "Postponed", isSoft: true,
      lines: [stream.last_error, "The daemon tries again by itself. Nobody has to act."], commands: [],
    };
  }
  return null;
}

/** Return the commands of a hint, which stand between backquotes. */
function commandsOf(hint) {
  return [...(hint ?? "").matchAll(/`([^`]+)`/g)].map((match) => match[1])
    .filter((each) => each.includes(" "));
}

const card = (title, ...content) => make("section", { class: "card", "aria-label": title }, make("h3", {}, title), ...content);

function processCard(state, streams) {
  const { status } = state;
  const [text, mark, tone] = conditionOf(state, streams.find((each) => each.blocked) ?? streams[0]);
  return card("Process", make("p", { class: "big" }, sign(text, mark, tone)), facts([
    ["Process", status?.daemon ? `${status.daemon.pid ?? "?"}, since ${fullTime(status.daemon.since)}` : null],
    ["Version", status?.version], ["Ledger", status?.ledger],
    ["Last cycle", streams[0]?.last_cycle_at ? fullTime(streams[0].last_cycle_at) : null],
    ["Last error", streams[0]?.last_error],
  ]));
}

function positionCard(state, stream) {
  const { retention_s: retention, position_age_s: age } = state;
  const isKnown = retention && age !== null && age !== undefined;
  const left = isKnown ? Math.max(retention - age, 0) : null;
  return card(`Position in ${stream.domain} → ${stream.source_name}`,
    make("p", { class: "big" }, stream.position_at ? fullTime(stream.position_at) : "not begun"),
    isKnown ? make("progress", { max: retention, value: Math.min(age, retention), "aria-label": "Age of the position against the retention" }) : null,
    isKnown ? make("p", {}, `${lasting(age)} old. Retention removes the log after ${lasting(retention)}, so ${lasting(left)} are left.`) : null,
    facts([
      ["Log id", stream.position && make("code", {}, stream.position)],
      ["Lag", lasting(stream.lag_s)], ["Freshness", lasting(stream.freshness_s)],
      ["End of the log seen", stream.drained_at ? fullTime(stream.drained_at) : "never"],
      ["Second readings", stream.pending_second_readings.length ? number(stream.pending_second_readings.length) : "none waits"],
    ]));
}

/** Show backfills and a catch-up, each slice with its progress by the time of the log. */
function progressCard(stream) {
  const { backlog } = stream;
  const open = stream.spans.filter((span) => span.until !== null && span.reached < span.until);
  if (!backlog && !open.length) return null;
  const lists = [
    ["Catch-up", open.filter((span) => span.is_catch_up)],
    ["Backfill", open.filter((span) => !span.is_catch_up)],
  ].filter(([, spans]) => spans.length);
  return card("Backfills and catch-up",
    backlog ? make("p", {}, `${lasting(backlog.time_left_s)} of the log are left in ${counted(backlog.slices_left, "slice")}${backlog.oldest_at ? `, the oldest of ${fullTime(backlog.oldest_at)}` : ""}.`) : null,
    ...lists.flatMap(([name, spans]) => spans.slice(0, 20).map((span, at) => {
      const done = doneOf(span);
      const label = `${name}, slice ${at + 1}`;
      return make("div", {}, make("p", {}, done === null ? `${label}: at work` : `${label}: ${Math.floor(done * 100)} %`),
        make("progress", { max: 1, value: done, "aria-label": label }));
    })));
}

/** Return the part of a slice that is done. Today's log ids hold a time, and others hold none. */
function doneOf(span) {
  const [after, reached, until] = [span.after, span.reached, span.until].map(timeOf);
  return after && reached && until > after ? Math.min(Math.max((reached - after) / (until - after), 0), 1) : null;
}

const ID = /^90\d(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/;

function timeOf(id) {
  const match = ID.exec(id);
  return match ? Date.UTC(match[1], match[2] - 1, match[3], match[4], match[5], match[6]) : null;
}

/** Return the time in a log id, or the id itself if it holds none. */
const momentOf = (id) => (timeOf(id) ? fullTime(timeOf(id)) : id);

function countsCard(stream) {
  const rows = Object.entries(stream.events).map(([name, count]) => [name.replace("_", " "), number(count)]);
  const reasons = Object.entries(stream.dead_letters_by_reason);
  return card("Events since the ledger began", facts(rows),
    reasons.length ? make("p", {}, "Dead letters by reason:") : null,
    reasons.length ? facts(reasons.map(([reason, count]) => [number(count), reasonText(reason)])) : null);
}

function gapsCard(stream) {
  const lines = [
    ...stream.gaps.map((gap) => ["Gap", `removed by retention: ${momentOf(gap.after)} to ${momentOf(gap.before)}`]),
    ...stream.holes.map((hole) => ["Not sent", `${momentOf(hole.after)} to ${momentOf(hole.until)}. A backfill sends it.`]),
    ...stream.revisits.map((each) => ["Read again", `${each.kind.replace("_", " ")}, at ${momentOf(each.reached)}`]),
  ];
  if (!lines.length) return card("Gaps", make("p", {}, sign("no gap, and no hole", "✓", "good")));
  return card("Gaps", facts(lines));
}

function limitCard(state) {
  const limits = state.limits ?? [];
  if (!limits.length) return null;
  return card("Rate limit of the tenant", ...limits.map(({ endpoint, limit, left }) => make("div", {},
    make("p", {}, `${endpoint}: ${number(left)} of ${counted(limit, "request")} left`),
    make("progress", { max: limit || 1, value: Math.max(limit - left, 0), "aria-label": `Rate limit used at ${endpoint}` }))));
}

function truthCards(state) {
  return Object.entries(state.truth ?? {}).filter(([, found]) => found).map(([name, found]) =>
    card(name === "auth0" ? "By Auth0's counts" : "By Segment's counts", truthOf(found)));
}

function truthOf(found) {
  if (typeof found === "string") return make("p", {}, found);
  return facts(Object.entries(found).map(([name, value]) => [
    name.replaceAll("_", " "), typeof value === "number" ? number(value) : String(value ?? "unknown")]));
}

