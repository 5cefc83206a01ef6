// Drawings as SVG. Each has a sentence as its text alternative, and a table with the same numbers.

import { dayAndMinute, dayOf, make, minuteOf, number, setText } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 20;
const HEIGHT = 150;

export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A card with a drawing that is drawn again in place. Nothing moves and nothing closes by it. */
export class Card {
  constructor(title, { isWide = false, legend = [], withTable = true } = {}) {
    this.summary = make("p", {});
    this.drawing = make("div", { class: "drawing" });
    this.table = make("table", { class: "plain" });
    this.details = make("details", {}, make("summary", {}, "The numbers as a table"),
      make("div", { class: "figures-table", tabindex: "0", role: "region", "aria-label": `${title}, as a table` }, this.table));
    this.details.addEventListener("toggle", () => this.fill());
    this.element = make("section", { class: isWide ? "card wide" : "card", "aria-label": title },
      make("h3", {}, title), this.summary, this.drawing,
      legend.length ? legendOf(legend) : null, withTable ? this.details : null);
  }

  /** Show a sentence, a drawing that is made for the width of the card, and the rows of a table. */
  show(sentence, makeDrawing, head = [], rows = []) {
    setText(this.summary, sentence);
    const width = Math.max(this.drawing.clientWidth, 280);
    const drawing = makeDrawing(width);
    if (drawing) {
      drawing.setAttribute("role", "img");
      drawing.setAttribute("aria-label", sentence);
      this.drawing.replaceChildren(drawing);
    } else {
      this.drawing.replaceChildren();
    }
    this.content = [head, rows];
    this.fill();
  }

  fill() {
    if (!this.details.open || !this.content) return;
    const [head, rows] = this.content;
    this.table.replaceChildren(
      make("thead", {}, make("tr", {}, ...head.map((text, at) => make("th", { scope: "col", class: at ? "number" : null }, text)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {},
        ...row.map((text, at) => make("td", { class: at ? "number" : null }, text))))));
  }
}

export function legendOf(entries) {
  return make("ul", { class: "legend" }, ...entries.map(([name, swatch]) =>
    make("li", {}, draw("svg", { viewBox: "0 0 20 12", "aria-hidden": "true" }, swatch), name)));
}

export const block = (tone) => draw("rect", { x: 3, y: 1, width: 14, height: 10, rx: 2, class: `f-${tone}` });
export const stroke = (tone) => draw("path", { d: "M0 6H20", class: `s-${tone}` });

/** Draw bars for each minute, the series of a minute on top of each other. */
export function bars(width, times, series) {
  const sums = times.map((_, at) => series.reduce((sum, each) => sum + each.values[at], 0));
  const plot = new Plot(width, times, Math.max(...sums, 1), COUNTS);
  const step = plot.wide / times.length;
  times.forEach((_, at) => {
    let base = 0;
    for (const { tone, values } of series) {
      if (!values[at]) continue;
      const [top, bottom] = [plot.y(base + values[at]), plot.y(base)];
      plot.add("rect", {
        x: LEFT + at * step + step * 0.12, width: step * 0.76,
        y: top, height: Math.max(bottom - top, 0.8), class: `f-${tone}`,
      });
      base += values[at];
    }
  });
  return plot.svg;
}

/** Draw a line for each series. A value of null is a hole in its line. */
export function lines(width, times, series, axis) {
  const values = series.flatMap((each) => each.values).filter((value) => value !== null);
  const plot = new Plot(width, times, Math.max(...values, 1), axis);
  const moments = times.map((time) => new Date(time).getTime());
  const [first, last] = [moments[0], moments.at(-1)];
  const x = (at) => LEFT + ((moments[at] - first) / Math.max(last - first, 1)) * plot.wide;
  for (const { tone, values: each } of series) {
    let path = "";
    each.forEach((value, at) => {
      if (value === null) return;
      const isFirst = at === 0 || each[at - 1] === null;
      path += `${isFirst ? "M" : "L"}${x(at).toFixed(1)} ${plot.y(value).toFixed(1)}`;
      if (isFirst && (at + 1 === each.length || each[at + 1] === null)) path += "h0.1";
    });
    if (path) plot.add("path", { d: path, class: `s-${tone}`, "stroke-linecap": "round" });
  }
  return plot.svg;
}

/** An axis of counts, whose marks are at equal steps. */
export const COUNTS = {
  top: nice, marks: (top) => [0, top / 2, top], place: (value, top) => value / top, text: number,
};

const LENGTHS = [[0, "0"], [1, "1 s"], [10, "10 s"], [60, "1 min"], [600, "10 min"], [3600, "1 h"], [36_000, "10 h"], [360_000, "4 d"], [3_600_000, "42 d"]];

/** An axis of lengths of time. Its steps grow, so that seconds and days fit into one drawing. */
export const LENGTH = {
  top: (most) => (LENGTHS.find(([value]) => value >= Math.max(most, 10)) ?? LENGTHS.at(-1))[0],
  marks: (top) => LENGTHS.map(([value]) => value).filter((value) => value <= top),
  place: (value, top) => Math.log10(1 + value) / Math.log10(1 + top),
  text: (value) => LENGTHS.find(([each]) => each === value)[1],
};

/** The axes that bars and lines share. */
class Plot {
  constructor(width, times, most, axis) {
    this.axis = axis;
    this.most = axis.top(most);
    this.wide = width - LEFT - RIGHT;
    this.svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT });
    for (const mark of axis.marks(this.most)) {
      const y = this.y(mark);
      this.add("path", { d: `M${LEFT} ${y}H${width - RIGHT}`, class: "axis" });
      this.text(axis.text(mark), LEFT - 6, y + 4, "end");
    }
    if (!times.length) return;
    this.text(minuteOf(times[0]), LEFT, HEIGHT - 5, "start");
    this.text(minuteOf(times.at(-1)), width - RIGHT, HEIGHT - 5, "end");
  }

  y(value) { return HEIGHT - BOTTOM - this.axis.place(value, this.most) * (HEIGHT - TOP - BOTTOM); }

  add(name, attributes) { this.svg.append(draw(name, attributes)); }

  text(text, x, y, anchor) { this.svg.append(draw("text", { x, y, "text-anchor": anchor }, text)); }
}

/** Return a round number at or above this one, so that the axis does not jump at each event. */
function nice(most) {
  const ten = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((each) => each * ten).find((each) => each >= most);
}

/** Draw a row for each name: its counts beside each other, as parts of the longest row. */
export function rows(width, counted, tones) {
  const [name, high] = [Math.min(130, width * 0.36), 22];
  const longest = Math.max(...counted.map(([, counts]) => total(counts)), 1);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${counted.length * high + 4}`, width, height: counted.length * high + 4 });
  counted.forEach(([text, counts], at) => {
    let x = name;
    const wide = width - name - 60;
    svg.append(draw("text", { x: 0, y: at * high + 15 }, text));
    for (const [outcome, tone] of Object.entries(tones)) {
      if (!counts[outcome]) continue;
      const part = Math.max((counts[outcome] / longest) * wide, 2);
      svg.append(draw("rect", { x, y: at * high + 4, width: part, height: 14, rx: 2, class: `f-${tone}` }));
      x += part + 1;
    }
    svg.append(draw("text", { x: x + 6, y: at * high + 15 }, number(total(counts))));
  });
  return svg;
}

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

/** The kinds of ranges, the worst drawn last so that none is too short to be seen. */
export const RANGES = {
  ahead: { name: "ahead of the position", tone: "none", height: 6 },
  hole: { name: "in no span, not sent", tone: "missing", height: 24 },
  backfill: { name: "settled by a backfill", tone: "cyan", height: 24 },
  live: { name: "settled by the daemon", tone: "good", height: 24 },
  catch_up: { name: "settled by a catch-up", tone: "violet", height: 24 },
  unfinished: { name: "unfinished", tone: "warn", height: 12 },
  gap: { name: "gap: removed before it was read", tone: "bad", height: 34 },
};

const THINNEST = 3;

/** Draw the ledger as a line of time. Height and place tell the kinds apart, and not only colour. */
export function timeline(width, { since, now, ranges }) {
  const [begin, end] = [new Date(since).getTime(), new Date(now).getTime()];
  const x = (moment) => ((new Date(moment) - begin) / Math.max(end - begin, 1)) * (width - 2) + 1;
  const svg = draw("svg", { viewBox: `0 0 ${width} 66`, width, height: 66 });
  svg.append(draw("path", { d: `M1 42H${width - 1}`, class: "axis" }));
  const order = Object.keys(RANGES);
  const sorted = [...ranges].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  for (const { kind, begin: from, end: to } of sorted) {
    const { tone, height, name } = RANGES[kind];
    const [left, right] = [Math.max(x(from), 1), Math.min(x(to), width - 1)];
    const wide = Math.max(right - left, THINNEST);
    svg.append(draw("rect", {
      x: Math.min(left, width - 1 - wide), width: wide, y: 42 - height, height, rx: 2, class: `f-${tone}`,
    }, draw("title", {}, `${name}: ${dayAndMinute(from)} to ${dayAndMinute(to)}`)));
    if (kind === "gap") svg.append(cross(Math.min(left, width - wide) + wide / 2));
  }
  svg.append(...marks(begin, end, width, x));
  return svg;
}

function cross(x) {
  return draw("path", { d: `M${x - 3} 20l6 6m0 -6l-6 6`, class: "s-mark" });
}

const HOUR = 3_600_000;
const STEPS = [HOUR / 60, HOUR / 12, HOUR / 4, HOUR, 3 * HOUR, 6 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR, 720 * HOUR];
const MARK_WIDTH = 96;

function* marks(begin, end, width, x) {
  const most = Math.max(Math.floor(width / MARK_WIDTH) - 1, 1);
  const step = STEPS.find((each) => (end - begin) / each <= most) ?? 8760 * HOUR;
  for (let at = Math.ceil(begin / step) * step; at < end; at += step) {
    if (x(at) < 70 || x(at) > width - 50) continue;
    const label = step >= 24 * HOUR ? dayOf(at).slice(5) : minuteOf(at);
    yield draw("path", { d: `M${x(at)} 42v5`, class: "axis" });
    yield draw("text", { x: x(at), y: 60, "text-anchor": "middle" }, label);
  }
  yield draw("text", { x: 1, y: 60 }, step >= 24 * HOUR ? dayOf(begin).slice(5) : minuteOf(begin));
  yield draw("text", { x: width - 1, y: 60, "text-anchor": "end" }, "now");
}
