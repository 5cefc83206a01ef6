// "Now": what the daemon does, what stops it, and where it stands. Also the figures on top.

import { facts } from "./detail.js";
import {
  announce, byId, copyButton, counted, fullTime, lasting, make, number, reasonText, reasonWithCode, setText, sign, withCode,
} from "./text.js";

const CONDITIONS = {
  starting: ["starting", "…", "quiet"], running: ["running", "✓", "good"],
  postponed: ["postponed", "!", "warn"], blocked: ["blocked", "✕", "bad"],
  stopping: ["stopping", "–", "quiet"],
};

/** Return the condition of the daemon as a word, a shape and a tone. */
function conditionOf(state) {
  return CONDITIONS[state.condition?.kind] ?? ["unknown", "?", "quiet"];
}

export class NowView {
  constructor(history) {
    this.history = history;
    this.condition = "";
    this.alarm = "null";
    this.drawn = "";
  }

  show(state) {
    this.showFigures(state);
    this.showAlarm(alarmOf(state));
    this.showCards(state);
  }

  showFigures(state) {
    const { ages = {}, rate_limits: limits = [] } = state.numbers ?? {};
    const [text, mark, tone] = conditionOf(state);
    if (this.condition !== text) {
      byId("figure-daemon").replaceChildren(sign(text, mark, tone));
      if (this.condition) announce(`The daemon is ${text} now`);
      this.condition = text;
    }
    const { domain, source_name: source } = state.settings ?? {};
    setText(byId("where"), domain ? `${domain} → ${source ?? "Segment"}` : "");
    const limit = limits.find((each) => each.endpoint === "logs") ?? limits[0];
    const [letters, gaps] = [state.status?.dead_letters, state.status?.gaps.length];
    setText(byId("figure-freshness"), lasting(ages.freshness_seconds));
    setText(byId("figure-backlog"), ages.backlog_seconds ? lasting(ages.backlog_seconds) : "none");
    setText(byId("figure-rate"), number(this.history.rate()));
    setText(byId("figure-limit"), limit ? `${number(limit.remaining)} of ${number(limit.limit)}` : "–");
    setText(byId("figure-letters"), number(letters));
    setText(byId("figure-gaps"), number(gaps));
    byId("figure-letters").className = letters ? "bad" : "";
    byId("figure-gaps").className = gaps ? "bad" : "";
    byId("letter-badge").hidden = !letters;
    setText(byId("letter-badge"), number(letters));
  }

  /** Show what needs somebody, on every view. It is drawn again only if it differs. */
  showAlarm(found) {
    const text = JSON.stringify(found);
    if (text === this.alarm) return;
    this.alarm = text;
    const alarm = byId("alarm");
    alarm.hidden = found === null;
    if (found === null) return;
    alarm.className = found.isSoft ? "alarm soft" : "alarm";
    alarm.replaceChildren(make("h2", {}, found.title),
      ...found.lines.filter(Boolean).map((line) => make("p", {}, ...withCode(line))),
      ...found.commands.map((command) => make("p", { class: "type-this" },
        make("span", {}, "Type"), make("code", {}, command), copyButton(() => command, "Copy", `Copy ${command}`))));
  }

  showCards(state) {
    const { at, sample, ...content } = state;
    const text = JSON.stringify(content);
    if (byId("view-now").hidden || text === this.drawn || isBusy(byId("now"))) return;
    this.drawn = text;
    const { status } = state;
    byId("now").replaceChildren(make("div", { class: "cards" }, ...[
      daemonCard(state), status && positionCard(state), progressCard(state),
      status && countsCard(status), status && gapsCard(status), limitCard(state), segmentCard(state),
    ].filter(Boolean)));
  }
}

/** Return whether somebody uses a part now, so that it must not be replaced under the hand. */
const isBusy = (part) => part.contains(document.activeElement)
  || (String(getSelection()) !== "" && part.contains(getSelection().anchorNode));

function alarmOf(state) {
  const { condition, problem } = state;
  if (condition?.kind === "blocked") {
    return {
      title: `Blocked since ${fullTime(condition.since)}`,
      lines: [`${condition.code ? `error[${condition.code}]: ` : ""}${condition.reason}`, condition.hint,
        "The position stands still, nothing is lost, and the daemon keeps trying."],
      commands: commandsOf(condition.hint),
    };
  }
  if (condition?.kind === "postponed") {
    return {
      title: `Postponed since ${fullTime(condition.since)}`, isSoft: true,
      lines: [condition.reason, `The daemon tries again by itself${condition.next_try_at ? ` at ${fullTime(condition.next_try_at)}` : ""}.`],
      commands: [],
    };
  }
  if (problem) return { title: "The ledger cannot be read now", isSoft: true, lines: [problem], commands: [] };
  return null;
}

/** Return the commands of a hint, which stand between backquotes. */
function commandsOf(hint) {
  return [...(hint ?? "").matchAll(/`([^`]+)`/g)].map((match) => match[1])
    .filter((each) => each.includes(" "));
}

const spanOf = (text) => text && make("span", {}, ...withCode(text));

const card = (title, ...content) => make("section", { class: "card", "aria-label": title }, make("h3", {}, title), ...content);

function daemonCard(state) {
  const { condition, settings, status } = state;
  const [text, mark, tone] = conditionOf(state);
  return card("Daemon", make("p", { class: "big" }, sign(text, mark, tone)), facts([
    ["Since", condition && fullTime(condition.since)], ["Reason", spanOf(condition?.reason)],
    ["Next try", condition?.next_try_at && fullTime(condition.next_try_at)],
    ["Tenant", settings?.domain], ["Segment source", settings?.source_name],
    ["Polls", settings && `every ${lasting(settings.poll_interval_s)}`],
    ["Last cycle", status?.last_cycle_at && fullTime(status.last_cycle_at) + (status.last_error ? ", failed" : "")],
    ["Last error", spanOf(status?.last_error)],
  ]));
}

function positionCard({ status, numbers }) {
  const { position_age_seconds: age, retention_seconds: retention } = numbers?.ages ?? {};
  const isKnown = retention && age !== null && age !== undefined;
  return card("Position",
    make("p", { class: "big" }, status.position_at ? fullTime(status.position_at) : "not begun"),
    isKnown ? make("progress", { max: retention, value: Math.min(age, retention), "aria-label": "Age of the position against the retention" }) : null,
    isKnown ? make("p", {}, `${lasting(age)} old. The tenant removes its log after ${lasting(retention)}, so an outage may still last ${lasting(Math.max(retention - age, 0))}.`) : null,
    facts([
      ["Log id", status.position && make("code", {}, status.position)],
      ["Lag", lasting(status.lag_s)],
      ["End of the log seen", status.drained_at ? fullTime(status.drained_at) : "never"],
      ["Second readings", status.pending_second_readings.length ? `${number(status.pending_second_readings.length)} left to do` : "none left to do"],
    ]));
}

const MOST_SLICES = 20;
const WORK = { catch_up: "Catch-up", backfill: "Backfill", gap: "Gap read after all", resend: "Redelivery", late: "Second reading" };

/** Show backfills and a catch-up, each slice with the part that is done. */
function progressCard({ slices = [], is_backfill_running: isRunning, numbers }) {
  const left = numbers?.ages?.backlog_seconds;
  if (!slices.length) return card("Backfills and catch-up", make("p", {}, isRunning ? "A backfill has just begun." : "No backfill and no catch-up runs now."));
  return card("Backfills and catch-up",
    left ? make("p", {}, `A catch-up has ${lasting(left)} of the log left.`) : null,
    isRunning ? make("p", {}, "A backfill runs beside the daemon.") : null,
    ...slices.slice(0, MOST_SLICES).map((each) => {
      const span = each.begin && each.end ? `, ${fullTime(each.begin).slice(0, 16)} to ${fullTime(each.end).slice(0, 16)}` : "";
      const label = `${WORK[each.kind] ?? each.kind}${span}`;
      return make("div", { class: "slice" }, make("p", {}, `${label}: ${Math.floor(each.part_done * 100)} %`),
        make("progress", { max: 1, value: each.part_done, "aria-label": label }));
    }),
    slices.length > MOST_SLICES ? make("p", {}, `${counted(slices.length - MOST_SLICES, "more slice")}.`) : null);
}

function countsCard(status) {
  const rows = Object.entries(status.events).map(([name, count]) => [name.replace("_", " "), number(count)]);
  const reasons = Object.entries(status.dead_letters_by_reason);
  return card("Events since the ledger began", facts(rows),
    reasons.length ? make("p", {}, "Dead letters by reason:") : null,
    reasons.length ? facts(reasons.map(([reason, count]) => [reasonWithCode(reason), number(count)])) : null);
}

function gapsCard(status) {
  const lines = [
    ...status.gaps.map((gap) => ["Gap", `removed by retention: ${momentOf(gap.after)} to ${momentOf(gap.before)}`]),
    ...status.holes.map((hole) => ["Not sent", `${momentOf(hole.after)} to ${momentOf(hole.until)}. A backfill sends it.`]),
    ...status.revisits.map((each) => ["Read again", `${reasonText(each.kind)}, at ${momentOf(each.reached)}`]),
  ];
  return lines.length ? card("Gaps", facts(lines)) : card("Gaps", make("p", {}, sign("no part of the log is missing", "✓", "good")));
}

const ID = /^90\d(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/;

/** Return the time in a log id, or the id itself. Today's ids hold a time, and others hold none. */
function momentOf(id) {
  const match = ID.exec(id);
  if (!match) return id;
  const [year, month, ...rest] = match.slice(1).map(Number);
  return fullTime(Date.UTC(year, month - 1, ...rest)).replace(".000", "");
}

function limitCard({ numbers }) {
  const limits = numbers?.rate_limits ?? [];
  if (!limits.length) return null;
  return card("Rate limit of the tenant", ...limits.map(({ endpoint, limit, remaining }) => make("div", { class: "slice" },
    make("p", {}, `${endpoint}: ${number(remaining)} of ${counted(limit, "request")} left`),
    make("progress", { max: limit || 1, value: Math.max(limit - remaining, 0), "aria-label": `Rate limit used at ${endpoint}` }))));
}

/** Show Segment's own counts. Without the Public API nobody knows them. */
function segmentCard({ numbers }) {
  const found = numbers?.segment;
  if (!found) return null;
  const missing = found.missing ? sign(`${number(found.missing)} missing`, "✕", "bad") : sign("nothing is missing", "✓", "good");
  return card("By Segment's own counts, over 24 hours", make("p", { class: "big" }, missing), facts([
    ["Acknowledged", number(found.acknowledged)], ["Received", number(found.received)],
    ...Object.entries(found.failed).map(([reason, count]) => [`Failed: ${reasonText(reason)}`, number(count)]),
    ...Object.entries(found.filtered).map(([reason, count]) => [`Filtered: ${reasonText(reason)}`, number(count)]),
    ["Looked", fullTime(found.at)],
  ]));
}
