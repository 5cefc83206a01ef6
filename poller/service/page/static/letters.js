// Dead letters: their reasons, the list, one of them, and the two actions. Each action asks first.

import { bodyOf, facts } from "./detail.js";
import { announce, byId, counted, fullTime, make, number, reasonText, reasonWithCode, withCode } from "./text.js";

const PAGE = 100;
const ACTIONS = {
  replay: {
    label: "Replay", title: (what) => `Replay ${what}?`,
    text: "The calls are made again with the settings of now, and sent under the same message ids. What still cannot be sent stays here.",
  },
  discard: {
    label: "Discard", isDangerous: true, title: (what) => `Discard ${what}?`,
    text: "This is for good: nothing of it is ever sent. Only the counts remember it.",
  },
};
const RESULTS = { replayed: "replayed", left: "still cannot be sent", discarded: "discarded" };

export class LetterView {
  constructor() {
    this.letters = [];
    this.total = null;
    this.status = make("p", { class: "dim" }, "Loading");
    this.reasons = make("div", { class: "cards reasons" });
    this.body = make("tbody", {});
    this.more = make("button", { type: "button", hidden: true, onclick: () => this.load(this.letters.at(-1).log_id) }, "Show more");
    this.detail = make("section", { class: "detail letter-detail", "aria-labelledby": "letter-title", hidden: true });
    this.table = make("div", { class: "letters", tabindex: "0", role: "region", "aria-label": "List of dead letters", hidden: true },
      make("table", {}, make("thead", {}, make("tr", {},
        ...["Log id", "Type", "Reason", "Kept since"].map((text) => make("th", { scope: "col" }, text)))), this.body));
    byId("letters").append(this.status, this.reasons, this.detail, this.table, make("p", { class: "older" }, this.more));
  }

  /** Load the list again if the number of dead letters in the ledger differs. */
  show(state) {
    const total = state.status?.dead_letters ?? null;
    if (total === this.total || total === null || byId("view-letters").hidden) return;
    this.total = total;
    this.load("");
  }

  async load(after) {
    const answer = await ask(`dead-letters?after=${encodeURIComponent(after)}`);
    if (!answer.ok) return this.tell(answer.text);
    const { letters, reasons } = answer.json;
    this.letters = after ? [...this.letters, ...letters] : letters;
    this.more.hidden = letters.length < PAGE;
    this.table.hidden = this.letters.length === 0;
    this.body.replaceChildren(...this.letters.map((letter) => this.rowOf(letter)));
    this.reasons.replaceChildren(...reasons.map((each) => this.reasonOf(each)));
    const total = reasons.reduce((sum, each) => sum + each.count, 0);
    return this.tell(total ? `${counted(total, "event")} could not be sent. All others went on. Each reason has buttons of its own.`
      : "No dead letters: every event so far was sent or filtered.");
  }

  rowOf(letter) {
    const open = make("button", { type: "button", class: "small mono", onclick: () => this.open(letter.log_id) }, letter.log_id);
    return make("tr", {}, make("td", {}, open), make("td", {}, make("span", { class: "kind" }, letter.type)),
      make("td", {}, reasonOf(letter)), make("td", {}, fullTime(letter.dead_lettered_at)));
  }

  reasonOf({ reason, count, tokens }) {
    const what = `${counted(count, "dead letter")} (${reasonText(reason)})`;
    return make("section", { class: "card reason", "aria-label": what },
      make("p", {}, make("strong", {}, number(count)), " ", reasonWithCode(reason)),
      make("p", { class: "buttons" }, ...this.buttons({ reason }, tokens, what, "all with this reason")));
  }

  /** Make the buttons of both actions. The token of an action serves for these dead letters only. */
  buttons(target, tokens, what, all = "") {
    return Object.entries(ACTIONS).map(([name, action]) => make("button", {
      type: "button", class: action.isDangerous ? "small danger" : "small", "aria-label": `${action.label} ${all ? `${all}: ` : ""}${what}`,
      onclick: () => this.act(name, target, tokens[name], what),
    }, `${action.label} ${all}`.trim()));
  }

  async open(id) {
    const answer = await ask(`dead-letters/${encodeURIComponent(id)}`);
    const letter = answer.json;
    const title = make("h2", { id: "letter-title", tabindex: "-1" }, `Dead letter ${id}`);
    const buttons = answer.ok ? this.buttons({ log_id: id }, letter.tokens, `dead letter ${id}`) : [];
    const close = make("button", { type: "button", class: "small", onclick: () => this.close() }, "Close");
    this.detail.replaceChildren(make("header", {}, title, ...buttons, close),
      ...(answer.ok ? contentOf(letter) : [make("p", {}, ...withCode(answer.text))]));
    this.detail.hidden = false;
    this.detail.scrollIntoView({ block: "nearest" });
    title.focus();
  }

  close() {
    this.detail.hidden = true;
    this.detail.replaceChildren();
    this.table.focus();
  }

  async act(name, target, token, what) {
    if (!(await confirmed(ACTIONS[name], what))) return;
    const answer = await ask(`dead-letters/${name}`, {
      method: "POST", body: new URLSearchParams({ ...target, token, confirmed: "yes" }),
    });
    if (answer.ok && target.log_id) this.close();
    await this.load("");
    this.tell(answer.ok ? sentenceOf(answer.json) : answer.text);
    announce(this.status.textContent);
  }

  tell(text) { this.status.replaceChildren(...withCode(text)); }
}

const reasonOf = (letter) => `${reasonText(letter.reason)}${letter.status ? ` (HTTP ${letter.status})` : ""}`;

function sentenceOf({ note, ...numbers }) {
  if (note) return `The action is under way: ${note}`;
  const texts = Object.entries(numbers).filter(([name]) => RESULTS[name])
    .map(([name, count]) => `${number(count)} ${RESULTS[name]}`);
  return `Done: ${texts.join(", ")}.`;
}

function contentOf(letter) {
  return [facts([
    ["Reason", reasonWithCode(letter.reason)], ["Answer of Segment", letter.status && `HTTP ${letter.status}`], ["Type", letter.type], ["Application", letter.application],
    ["Happened", fullTime(letter.date)], ["Kept since", fullTime(letter.dead_lettered_at)],
  ]), letter.record ? make("div", { class: "bodies" }, bodyOf("Record of Auth0", letter.record))
    : make("p", { class: "dim" }, ...withCode(
      `The page shows the record with \`page.show = "all"\`. In a terminal, \`auth0-segment-poller dead-letters show ${letter.log_id}\` shows it.`))];
}

/** Ask the daemon. The answer has a text for a person if it is not what was asked for. */
async function ask(path, options = {}) {
  try {
    const answer = await fetch(path, { cache: "no-store", ...options });
    const isJson = answer.headers.get("Content-Type")?.startsWith("application/json");
    const json = isJson ? await answer.json() : null;
    if (answer.ok && json) return { ok: true, json };
    const said = json ? [json.problem, json.hint].filter(Boolean).join(". ") : (await answer.text()).trim();
    return { ok: false, text: `It failed: ${said || answer.status}` };
  } catch {
    return { ok: false, text: "The daemon does not answer now." };
  }
}

/** Ask a person. The answer that changes nothing has the focus. */
function confirmed(action, what) {
  const dialog = byId("ask");
  byId("ask-title").textContent = action.title(what);
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
