// "Over time": the ledger as a timeline, and the numbers of the last hour.

import { COUNTS, Card, LENGTH, RANGES, bars, block, lines, rows, stroke, timeline } from "./chart.js";
import { byId, counted, dayAndMinute, lasting, make, minuteOf, number } from "./text.js";

const OUTCOMES = {
  ok: "good", rate_limited: "warn", refused: "violet", failed: "bad", unanswered: "quiet",
};

export class TimeView {
  constructor(history) {
    this.history = history;
    this.ledger = new Card("The ledger", {
      isWide: true, legend: Object.values(RANGES).map(({ name, tone }) => [name, block(tone)]),
    });
    this.events = new Card("Events a minute", { legend: [
      ["forwarded", block("good")], ["filtered", block("quiet")], ["dead letters", block("bad")]] });
    this.ages = new Card("Freshness and backlog", { legend: [
      ["freshness, the time since all new events were settled", stroke("accent")],
      ["backlog, the log that an outage left unread", stroke("warn")]] });
    this.limit = new Card("Rate limit of the log", { legend: [
      ["left", stroke("accent")], ["used", stroke("warn")], ["limit", stroke("cyan")]] });
    this.requests = new Card("Requests by outcome", {
      legend: Object.entries(OUTCOMES).map(([name, tone]) => [name.replace("_", " "), block(tone)]) });
    byId("time").append(make("div", { class: "cards" },
      ...[this.ledger, this.events, this.ages, this.limit, this.requests].map((card) => card.element)));
  }

  show(state) {
    if (byId("view-time").hidden) return;
    this.showLedger(state);
    const samples = this.history.all();
    this.showEvents(samples, this.history.minutes());
    this.showAges(samples, samples.map((each) => each.at));
    this.showLimit(samples, samples.map((each) => each.at));
    this.showRequests(state.numbers?.requests ?? []);
  }

  showLedger(state) {
    const ranges = (state.ranges ?? []).filter((each) => RANGES[each.kind]);
    if (!ranges.length) return this.ledger.show("The ledger holds nothing yet.", () => null);
    const since = ranges.map((each) => each.begin).sort()[0];
    return this.ledger.show(sentenceOf(since, ranges),
      (width) => timeline(width, { since, now: state.at, ranges }), ["From", "To", "Content"],
      ranges.map((each) => [dayAndMinute(each.begin), dayAndMinute(each.end), RANGES[each.kind].name]));
  }

  showEvents(samples, minutes) {
    const series = [["forwarded", "good"], ["filtered", "quiet"], ["dead_lettered", "bad"]]
      .map(([key, tone]) => ({ tone, values: minutes.map((each) => each[key]) }));
    const [forwarded, filtered, dead] = series.map(({ values }) => sum(values));
    const since = samples.length ? ` since ${minuteOf(samples[0].at)}` : "";
    this.events.show(
      `${counted(forwarded, "event")} forwarded, ${number(filtered)} filtered, ${counted(dead, "dead letter")}${since}.`,
      (width) => bars(width, minutes.map((each) => each.at), series),
      ["Minute", "Forwarded", "Filtered", "Dead letters"],
      minutes.map((each) => [minuteOf(each.at), ...["forwarded", "filtered", "dead_lettered"].map((key) => number(each[key]))]).reverse());
  }

  showAges(samples, times) {
    const last = samples.at(-1);
    this.ages.show(
      last ? `${freshnessOf(last)} ${backlogOf(last)}` : "Nothing is known yet.",
      (width) => lines(width, times, [
        { tone: "accent", values: column(samples, "freshness_seconds") },
        { tone: "warn", values: column(samples, "backlog_seconds") }], LENGTH),
      ["Time", "Freshness", "Backlog"],
      byMinute(samples).map((each) => [minuteOf(each.at), lasting(each.freshness_seconds), lasting(each.backlog_seconds)]));
  }

  showLimit(samples, times) {
    const last = samples.findLast((each) => isKnown(each.rate_limit));
    const used = (each) => (isKnown(each.rate_limit) ? each.rate_limit - each.rate_limit_remaining : null);
    this.limit.show(
      last ? `${number(last.rate_limit_remaining)} of ${counted(last.rate_limit, "request")} are left, as Auth0 last said.` : "Auth0 has not told its rate limit yet.",
      (width) => lines(width, times, [
        { tone: "cyan", values: column(samples, "rate_limit") },
        { tone: "warn", values: samples.map(used) },
        { tone: "accent", values: column(samples, "rate_limit_remaining") }], COUNTS),
      ["Time", "Limit", "Used", "Left"],
      byMinute(samples).map((each) => [minuteOf(each.at), number(each.rate_limit), number(used(each)), number(each.rate_limit_remaining)]));
  }

  showRequests(requests) {
    const calls = new Map();
    for (const { service, call, outcome, count } of requests) {
      const name = `${service} ${call}`;
      if (!calls.has(name)) calls.set(name, {});
      calls.get(name)[outcome] = count;
    }
    const found = [...calls].filter(([, counts]) => sum(Object.values(counts)) > 0).sort();
    const ok = sum(found.map(([, counts]) => counts.ok ?? 0));
    const other = sum(found.map(([, counts]) => sum(Object.values(counts)))) - ok;
    this.requests.show(
      `${counted(ok, "request")} answered well, ${number(other)} with another outcome since the start of the daemon.`,
      (width) => rows(width, found, OUTCOMES), ["Call", ...Object.keys(OUTCOMES).map((each) => each.replace("_", " "))],
      found.map(([name, counts]) => [name, ...Object.keys(OUTCOMES).map((each) => number(counts[each] ?? 0))]));
  }
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const isKnown = (value) => value !== null && value !== undefined;
const column = (samples, key) => samples.map((each) => each[key] ?? null);

const SETTLED = "forwarded, filtered, or kept as a dead letter";

function freshnessOf({ freshness_seconds: seconds }) {
  if (!isKnown(seconds)) return "Nothing is settled yet.";
  if (seconds < 1) return `Every new event is settled: ${SETTLED}.`;
  return `Every new event but those of the last ${lasting(seconds)} is settled: ${SETTLED}.`;
}

function backlogOf({ backlog_seconds: seconds }) {
  if (!seconds) return "There is no backlog: no outage left a part of the log unread.";
  return `An outage left ${lasting(seconds)} of the log, which are still to be read.`;
}

/** Return the last sample of each minute, the newest first. */
function byMinute(samples) {
  return [...new Map(samples.map((each) => [minuteOf(each.at), each])).values()].reverse();
}

/** Return the timeline as a sentence, with the time that each kind of range covers. */
function sentenceOf(since, ranges) {
  const lengths = new Map();
  for (const { kind, begin, end } of ranges) {
    lengths.set(kind, (lengths.get(kind) ?? 0) + (new Date(end) - new Date(begin)) / 1000);
  }
  const texts = [...lengths].map(([kind, seconds]) => `${RANGES[kind].name} ${lasting(seconds)}`);
  return `Since ${dayAndMinute(since)}: ${texts.join(", ")}.`;
}
