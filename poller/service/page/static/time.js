// "Over time": the ledger as a timeline, and the figures of the last hours.

import { COUNTS, Card, LENGTH, PIECES, bars, block, lines, stroke, timeline } from "./chart.js";
import { byId, counted, dayAndMinute, lasting, make, minuteOf, number } from "./text.js";

const OUTCOMES = [["ok", "good"], ["rate_limited", "warn"], ["refused", "violet"], ["failed", "bad"], ["unanswered", "quiet"]];

export class TimeView {
  constructor() {
    this.timelines = new Map();
    this.room = make("div", { class: "cards" });
    this.events = new Card("Events a minute", { legend: [
      ["forwarded", block("good")], ["filtered", block("quiet")], ["dead letters", block("bad")]] });
    this.ages = new Card("Freshness and backlog", { legend: [
      ["freshness, the age of new events", stroke("accent")], ["backlog, log still to read", stroke("warn")]] });
    this.limit = new Card("Rate limit", { legend: [
      ["left", stroke("accent")], ["used", stroke("warn")], ["limit", stroke("cyan")]] });
    this.requests = new Card("Requests a minute", { legend: OUTCOMES.map(([name, tone]) => [name.replace("_", " "), block(tone)]) });
    byId("time").append(this.room, make("div", { class: "cards" },
      ...[this.events, this.ages, this.limit, this.requests].map((card) => card.element)));
  }

  show(state) {
    this.showTimelines(state.timeline ?? []);
    const history = state.history ?? [];
    const times = history.map((each) => each.at);
    this.showEvents(history, times);
    this.showAges(history, times);
    this.showLimit(history, times);
    this.showRequests(history, times);
  }

  showTimelines(streams) {
    const names = streams.map((each) => `${each.domain} → ${each.source_name}`);
    for (const [at, stream] of streams.entries()) {
      if (!this.timelines.has(names[at])) this.addTimeline(names[at]);
      const pieces = stream.pieces.filter((each) => PIECES[each.kind]);
      this.timelines.get(names[at]).show(sentenceOf(stream, pieces), (width) => timeline(width, { ...stream, pieces }),
        ["From", "To", "Content"], pieces.map((each) => [dayAndMinute(each.from), dayAndMinute(each.to), PIECES[each.kind].name]));
    }
    for (const [name, card] of this.timelines) card.element.hidden = !names.includes(name);
  }

  addTimeline(name) {
    const card = new Card(`The ledger: ${name}`, {
      isWide: true, legend: Object.values(PIECES).map(({ name: each, tone }) => [each, block(tone)]),
    });
    this.timelines.set(name, card);
    this.room.append(card.element);
  }

  showEvents(history, times) {
    const series = [["forwarded", "good"], ["filtered", "quiet"], ["dead_lettered", "bad"]]
      .map(([key, tone]) => ({ tone, values: history.map((each) => each[key] ?? 0) }));
    const [forwarded, filtered, dead] = series.map(({ values }) => sum(values));
    this.events.show(
      history.length ? `${counted(forwarded, "event")} forwarded, ${number(filtered)} filtered, ${counted(dead, "dead letter")} since ${minuteOf(times[0])}.` : "No minute is over yet.",
      (width) => bars(width, times, series), ["Minute", "Forwarded", "Filtered", "Dead letters"],
      history.map((each) => [minuteOf(each.at), number(each.forwarded), number(each.filtered), number(each.dead_lettered)]));
  }

  showAges(history, times) {
    const last = history.at(-1);
    this.ages.show(
      last ? `Freshness ${lasting(last.freshness_s)}, ${last.backlog_s ? `backlog ${lasting(last.backlog_s)}` : "no backlog"}.` : "Nothing is known yet.",
      (width) => lines(width, times, [
        { tone: "accent", values: column(history, "freshness_s") },
        { tone: "warn", values: column(history, "backlog_s") }], LENGTH),
      ["Minute", "Freshness", "Backlog"],
      history.map((each) => [minuteOf(each.at), lasting(each.freshness_s), lasting(each.backlog_s)]));
  }

  showLimit(history, times) {
    const last = history.findLast((each) => isKnown(each.limit));
    const used = (each) => (isKnown(each.limit) && isKnown(each.left) ? each.limit - each.left : null);
    this.limit.show(
      last ? `${number(last.left)} of ${counted(last.limit, "request")} left, as the last answer of Auth0 said.` : "No answer of Auth0 has told the rate limit yet.",
      (width) => lines(width, times, [
        { tone: "cyan", values: column(history, "limit") },
        { tone: "warn", values: history.map(used) },
        { tone: "accent", values: column(history, "left") }], COUNTS),
      ["Minute", "Limit", "Used", "Left"],
      history.map((each) => [minuteOf(each.at), number(each.limit), number(used(each)), number(each.left)]));
  }

  showRequests(history, times) {
    const names = [...new Set(history.flatMap((each) => Object.keys(each.requests ?? {})))].sort();
    const of = (each, outcome) => sum(names.filter((name) => name.split(" ").at(-1) === outcome).map((name) => each.requests?.[name] ?? 0));
    const series = OUTCOMES.map(([outcome, tone]) => ({ tone, values: history.map((each) => of(each, outcome)) }));
    const [ok, ...bad] = series.map(({ values }) => sum(values));
    this.requests.show(
      history.length ? `${counted(ok, "request")} answered well, ${number(sum(bad))} with another outcome since ${minuteOf(times[0])}.` : "No minute is over yet.",
      (width) => bars(width, times, series), ["Minute", ...names],
      history.map((each) => [minuteOf(each.at), ...names.map((name) => number(each.requests?.[name] ?? 0))]));
  }
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const isKnown = (value) => value !== null && value !== undefined;
const column = (history, key) => history.map((each) => each[key] ?? null);

/** Return the timeline as a sentence, with the time that each kind of piece covers. */
function sentenceOf(stream, pieces) {
  const lengths = new Map();
  for (const { kind, from, to } of pieces) {
    lengths.set(kind, (lengths.get(kind) ?? 0) + (new Date(to) - new Date(from)) / 1000);
  }
  const texts = [...lengths].map(([kind, seconds]) => `${PIECES[kind].name} ${lasting(seconds)}`);
  return `Since ${dayAndMinute(stream.since)}: ${texts.join(", ") || "nothing yet"}.`;
}
