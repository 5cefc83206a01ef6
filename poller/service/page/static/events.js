// The table of live events: the newest first, at most MOST_ROWS of them, and still while held.

import {
  announce, byId, clockOf, counted, fullTime, keep, lasting, make, number, outcomeSign, read,
  reasonText, setText, typeMeaning,
} from "./text.js";

export const MOST_KEPT = 1000;
const MOST_ROWS = 200;
const FEW = 12;
const BARS = "M2 1h3v10H2zM7 1h3v10H7z";
const PLAY = "M2 1l9 5-9 5z";

export class EventTable {
  constructor(open) {
    this.open = open;
    this.kept = [];
    this.waiting = 0;
    this.isPaused = false;
    this.isUnderPointer = false;
    this.opened = null;
    this.room = MOST_ROWS;
    this.types = new Set();
    this.filter = { text: "", type: "", outcome: "" };
    this.body = byId("rows");
    this.scroll = byId("scroll");
    this.listen();
  }

  listen() {
    for (const name of Object.keys(this.filter)) {
      const field = byId(`filter-${name}`);
      this.filter[name] = read(`page.${name}`) ?? "";
      if (name === "type" && this.filter.type) this.addType(this.filter.type);
      field.value = this.filter[name];
      field.addEventListener("input", () => this.setFilter(name, field.value));
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("pause").addEventListener("click", () => this.pause(!this.isPaused));
    byId("older").addEventListener("click", () => { this.room = MOST_KEPT; this.draw(); });
    this.body.addEventListener("click", (event) => this.clicked(event));
    // A row must not move away from under a pointer that is about to press it.
    this.scroll.addEventListener("pointerenter", (event) => this.point(event.pointerType === "mouse"));
    this.scroll.addEventListener("pointerleave", () => this.point(false));
    this.scroll.addEventListener("scroll", () => this.moved(), { passive: true });
    addEventListener("scroll", () => this.moved(), { passive: true });
    this.body.addEventListener("focusin", () => this.moved());
    this.body.addEventListener("focusout", () => setTimeout(() => this.moved()));
  }

  /** Take new events: their rows, and the number of those that came too fast to be listed. */
  add({ rows, skipped }) {
    if (skipped && rows.length) rows[0].skipped_before = skipped;
    // After a restart of the daemon its numbers begin again.
    if (this.kept.length && rows.length && rows[0].number <= this.kept.at(-1).number) {
      rows = rows.filter((row) => row.number > this.kept.at(-1).number);
    }
    this.kept.push(...rows);
    this.kept.splice(0, Math.max(this.kept.length - MOST_KEPT, 0));
    rows.forEach((row) => this.addType(row.type));
    if (this.isHeld()) {
      this.waiting += rows.length + (skipped ?? 0);
      this.say();
    } else {
      this.insert(rows);
    }
  }

  /** Forget everything: the daemon was started again, and numbers its events anew. */
  forget() {
    this.kept = [];
    this.draw();
  }

  held() {
    if (this.isPaused) return "Paused";
    if (this.isUnderPointer) return "Held under the pointer";
    if (this.isScrolled()) return "Held while scrolled down";
    if (this.body.contains(document.activeElement)) return "Held while a row has the focus";
    return "";
  }

  isHeld() { return this.held() !== ""; }

  /** Return whether the newest rows are out of sight. On a phone the whole page scrolls. */
  isScrolled() {
    return this.scroll.scrollTop > 4 || this.body.getBoundingClientRect().top < 0;
  }

  pause(value) {
    this.isPaused = value;
    byId("pause").setAttribute("aria-pressed", String(value));
    announce(value ? "Paused" : `Resumed, ${counted(this.waiting, "new event")}`);
    if (!value) {
      this.isUnderPointer = false;
      this.scroll.scrollTop = 0;
      if (this.isScrolled()) this.scroll.scrollIntoView();
    }
    this.moved();
  }

  point(value) {
    this.isUnderPointer = value;
    this.moved();
  }

  /** Catch up if nothing holds the table any more. */
  moved() {
    if (!this.isHeld() && this.waiting) this.draw();
    else this.say();
  }

  setFilter(name, value) {
    this.filter[name] = value;
    keep(`page.${name}`, value);
    this.room = MOST_ROWS;
    this.draw();
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => announce(byId("shown").textContent), 900);
  }

  addType(type) {
    if (this.types.has(type) || this.types.size >= 100) return;
    this.types.add(type);
    const meaning = typeMeaning(type);
    const option = make("option", { value: type }, meaning ? `${type} · ${meaning}` : type);
    const after = [...byId("filter-type").options].find((each) => each.value > type);
    byId("filter-type").insertBefore(option, after ?? null);
  }

  matches(row) {
    const { text, type, outcome } = this.filter;
    if (type && row.type !== type) return false;
    if (outcome === "sent" ? row.outcome === "filtered" : outcome && row.outcome !== outcome) return false;
    if (!text) return true;
    row.text ??= [row.log_id, row.type, row.user, row.application, row.connection, row.reason,
      reasonText(row.reason), row.outcome, row.worker, ...row.calls].join("\n").toLowerCase();
    return row.text.includes(text.trim().toLowerCase());
  }

  /** Put new rows on top, and take as many away at the end. */
  insert(rows) {
    const fresh = rows.filter((row) => this.matches(row)).slice(-this.room);
    const made = [];
    for (const row of fresh.reverse()) {
      made.push(this.rowOf(row, fresh.length <= FEW));
      if (row.skipped_before) made.push(skippedRow(row.skipped_before));
    }
    this.body.prepend(...made);
    while (this.body.children.length > this.room) this.body.lastElementChild.remove();
    this.say();
  }

  /** Draw the whole table again. */
  draw() {
    this.waiting = 0;
    const rows = this.kept.filter((row) => this.matches(row)).slice(-this.room).reverse();
    this.body.replaceChildren(...rows.map((row) => this.rowOf(row, false)));
    this.say();
  }

  say() {
    const matching = this.kept.reduce((count, row) => count + this.matches(row), 0);
    const isFiltered = Object.values(this.filter).some((value) => value);
    const of = isFiltered ? ` of the last ${number(this.kept.length)} match the filter` : "";
    setText(byId("shown"), this.kept.length ? `${counted(matching, "event")}${of}` : "No events yet");
    const held = this.held();
    const news = this.waiting ? ` · ${number(this.waiting)} new` : "";
    setText(byId("held"), held ? `${held}${news}` : "");
    setText(byId("pause-text"), this.isPaused ? `Resume${news}` : "Pause");
    byId("pause-sign").setAttribute("d", this.isPaused ? PLAY : BARS);
    byId("pause").classList.toggle("strong", this.isPaused);
    byId("older").hidden = matching <= this.room;
    byId("empty").hidden = this.body.children.length > 0;
    setText(byId("empty"), this.kept.length
      ? "No event matches the filter."
      : "Waiting for the first event. Log in to an application of the tenant, and look here.");
  }

  rowOf(row, isFresh) {
    const meaning = typeMeaning(row.type);
    const isOpen = row.number === this.opened;
    const open = make("button", {
      type: "button", class: "time", "aria-expanded": String(isOpen), "aria-controls": "detail",
      title: fullTime(row.date), "aria-label": `${clockOf(row.date)}, show the calls`,
    }, clockOf(row.date));
    const outcome = make("span", {}, outcomeSign(row.outcome));
    if (row.reason) outcome.append(make("span", { class: "why" }, reasonText(row.reason)));
    return make("tr", {
      role: "row", "data-number": row.number, "data-settled": row.settled_at,
      class: `${isFresh ? "fresh" : ""} ${isOpen ? "open" : ""}`.trim() || null,
    },
    cell("c-time", open),
    cell("c-type", make("span", { class: "kind" }, row.type), make("span", {}, meaning)),
    cell("c-user", row.user), cell("c-app", row.application), cell("c-connection", row.connection),
    cell("c-calls", row.calls.join(", ")),
    cell("c-outcome", outcome), cell("c-age", lasting(row.age_s)));
  }

  clicked(event) {
    const row = event.target.closest("tr[data-number]");
    // Whoever selects text does not want to open the row.
    if (row && String(getSelection()) === "") this.openRow(Number(row.dataset.number));
  }

  openRow(number) {
    this.mark(number);
    this.open(number);
  }

  /** Mark the row that is open, or none. */
  mark(number) {
    this.opened = number;
    for (const row of this.body.querySelectorAll("tr[data-number]")) {
      const isOpen = Number(row.dataset.number) === number;
      row.classList.toggle("open", isOpen);
      row.querySelector(".time").setAttribute("aria-expanded", String(isOpen));
    }
  }

  focus(number) {
    (this.body.querySelector(`tr[data-number="${number}"] .time`) ?? this.scroll).focus();
  }

  /** Return the number of the matching event beside this one. A step of 1 leads to a newer one. */
  beside(number, step) {
    const rows = this.kept.filter((row) => this.matches(row));
    const at = rows.findIndex((row) => row.number === number);
    return at < 0 ? undefined : rows[at + step]?.number;
  }
}

function cell(name, ...content) {
  const [first] = content;
  const isText = typeof first === "string";
  return make("td", { role: "cell", class: name, title: isText && first.length > 12 ? first.slice(0, 500) : null },
    ...content);
}

function skippedRow(count) {
  return make("tr", { role: "row", class: "skipped" }, make("td", { role: "cell", colspan: "8" },
    `${counted(count, "more event")} came too fast to be listed`));
}
