// Dead letters: the list, one of them, and the two actions. Each action asks first.

import { bodyOf, facts } from "./detail.js";
import { announce, byId, counted, fullTime, make, number, reasonText } from "./text.js";

const ACTIONS = {
  replay: {
    label: "Replay", title: (count) => `Replay ${counted(count, "dead letter")}?`,
    text: "The daemon translates them again and sends the calls under the same message ids. What still cannot be sent stays here.",
  },
  discard: {
    label: "Discard", isDangerous: true, title: (count) => `Discard ${counted(count, "dead letter")}?`,
    text: "They are removed for good and are never sent. Only their number stays in the counts.",
  },
};

export class LetterView {
  constructor(tokens) {
    this.tokens = tokens;
    this.letters = [];
    this.chosen = new Set();
    this.total = null;
    this.cursor = "";
    this.build();
  }

  build() {
    this.status = make("p", { class: "grow dim" });
    this.buttons = Object.fromEntries(Object.entries(ACTIONS).map(([name, action]) => [name,
      make("button", { type: "button", class: action.isDangerous ? "danger" : "strong", onclick: () => this.act(name, [...this.chosen]) }, action.label)]));
    this.all = make("input", { type: "checkbox", "aria-label": "Choose all dead letters shown" });
    this.all.addEventListener("change", () => this.choose(this.all.checked ? this.letters.map((each) => each.log_id) : []));
    this.body = make("tbody", {});
    this.more = make("button", { type: "button", onclick: () => this.load(this.cursor) }, "Show more");
    this.detail = make("section", { class: "detail letter-detail", "aria-labelledby": "letter-title", hidden: true });
    this.table = make("div", { class: "letters", tabindex: "0", role: "region", "aria-label": "List of dead letters" },
      make("table", {}, make("thead", {}, make("tr", {},
        make("th", { scope: "col" }, this.all), ...["Time", "Type", "Reason", "Log id"].map((text) => make("th", { scope: "col" }, text)))), this.body));
    byId("letters").append(make("div", { class: "buttons tools" }, this.status, this.buttons.replay, this.buttons.discard),
      this.table, make("p", { class: "older" }, this.more), this.detail);
    this.draw();
  }

  /** Load the list again if the number of dead letters in the ledger differs. */
  show(state) {
    const total = (state.status?.streams ?? []).reduce((sum, each) => sum + each.dead_letters, 0);
    if (total === this.total || byId("view-letters").hidden) return;
    this.total = total;
    this.load("");
  }

  async load(after) {
    const answer = await ask(`/dead-letters?after=${encodeURIComponent(after)}`);
    if (!answer.ok) return this.tell(answer.text);
    const found = answer.json.letters;
    this.letters = after ? [...this.letters, ...found] : found;
    this.cursor = answer.json.next ?? "";
    const known = new Set(this.letters.map((each) => each.log_id));
    this.chosen = new Set([...this.chosen].filter((each) => known.has(each)));
    return this.draw();
  }

  draw() {
    this.body.replaceChildren(...this.letters.map((letter) => this.rowOf(letter)));
    this.table.hidden = this.letters.length === 0;
    this.more.hidden = !this.cursor;
    this.choose([...this.chosen]);
  }

  rowOf(letter) {
    const box = make("input", { type: "checkbox", "data-id": letter.log_id, "aria-label": `Choose ${letter.log_id}` });
    box.checked = this.chosen.has(letter.log_id);
    box.addEventListener("change", () => {
      if (box.checked) this.chosen.add(letter.log_id);
      else this.chosen.delete(letter.log_id);
      this.choose([...this.chosen]);
    });
    const open = make("button", { type: "button", class: "small", onclick: () => this.open(letter.log_id) }, letter.log_id);
    return make("tr", {}, make("td", {}, box), make("td", {}, fullTime(letter.date)),
      make("td", {}, make("span", { class: "kind" }, letter.type)), make("td", {}, reasonText(letter.reason)), make("td", { class: "mono" }, open));
  }

  choose(ids) {
    this.chosen = new Set(ids);
    for (const box of this.body.querySelectorAll("input")) box.checked = this.chosen.has(box.dataset.id);
    this.all.checked = this.letters.length > 0 && this.chosen.size === this.letters.length;
    this.all.indeterminate = this.chosen.size > 0 && !this.all.checked;
    for (const button of Object.values(this.buttons)) button.disabled = this.chosen.size === 0;
    this.tell(this.letters.length
      ? `${counted(this.total ?? this.letters.length, "dead letter")}, ${number(this.chosen.size)} chosen`
      : "No dead letters. Every event so far was sent or filtered.");
  }

  tell(text) { this.status.textContent = text; }

  async open(id) {
    const answer = await ask(`/dead-letters/${encodeURIComponent(id)}`);
    this.detail.hidden = false;
    const button = (name) => make("button", { type: "button", class: ACTIONS[name].isDangerous ? "danger small" : "small", onclick: () => this.act(name, [id]) }, ACTIONS[name].label);
    const close = make("button", { type: "button", class: "small", onclick: () => this.close() }, "Close");
    const title = make("h2", { id: "letter-title", tabindex: "-1" }, `Dead letter ${id}`);
    this.detail.replaceChildren(make("header", {}, title, button("replay"), button("discard"), close),
      ...(answer.ok ? contentOf(answer.json) : [make("p", {}, answer.text)]));
    title.focus();
  }

  close() {
    this.detail.hidden = true;
    this.detail.replaceChildren();
    this.table.focus();
  }

  async act(name, ids) {
    if (!(await confirmed(ACTIONS[name], ids.length))) return;
    const answer = await ask(`/dead-letters/${name}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Action-Token": this.tokens[name] },
      body: JSON.stringify({ log_ids: ids }),
    });
    this.chosen.clear();
    if (answer.ok) this.detail.hidden = true;
    await this.load("");
    const text = answer.ok ? sentenceOf(answer.json) : answer.text;
    this.tell(text);
    announce(text);
  }
}

const sentenceOf = (numbers) => Object.entries(numbers).filter(([, value]) => typeof value === "number")
  .map(([name, value]) => `${name.replaceAll("_", " ")}: ${number(value)}`).join(", ");

function contentOf(letter) {
  const record = letter.record;
  return [facts([
    ["Reason", reasonText(letter.reason)], ["Status", letter.status && `HTTP ${letter.status}`], ["Type", letter.type],
    ["Happened", fullTime(letter.date)], ["Kept since", letter.settled_at && fullTime(letter.settled_at)],
  ]), record ? make("div", { class: "bodies" }, bodyOf("Record of Auth0", record))
    : make("p", { class: "dim" }, 'The page shows the record with page.show = "all". `dead-letters show` shows it in a terminal.')];
}

/** Ask the daemon. The answer has a text for a person if it is not what was asked for. */
async function ask(path, options = {}) {
  try {
    const answer = await fetch(path, { cache: "no-store", ...options });
    const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
    if (answer.ok && isJson) return { ok: true, json: await answer.json() };
    return { ok: false, text: `The daemon refused: ${(await answer.text()).trim() || answer.status}` };
  } catch {
    return { ok: false, text: "The daemon does not answer now." };
  }
}

/** Ask a person. The answer that changes nothing has the focus. */
function confirmed(action, count) {
  const dialog = byId("ask");
  byId("ask-title").textContent = action.title(count);
  byId("ask-text").textContent = action.text;
  byId("ask-yes").textContent = action.label;
  byId("ask-yes").className = action.isDangerous ? "strong danger" : "strong";
  dialog.returnValue = "no";
  dialog.showModal();
  byId("ask-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
