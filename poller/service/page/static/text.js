// Texts and elements. Everything from outside becomes a text node, and never markup.

/** Make an element with attributes and children. A child is a node, or becomes a text node. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return the nodes of a text in which names of commands and settings stand between backquotes. */
export const withCode = (text) =>
  text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part)).filter(Boolean);

export const byId = (id) => document.getElementById(id);

/** Set a text only if it differs, so that nothing is drawn or announced for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tell people who cannot see the page. Use it for what they did, and for what needs them. */
export function announce(text) {
  byId("say").textContent = text;
}

export const number = (value) =>
  value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");

export function counted(count, noun) {
  return `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Return a length of time in the one or two units that matter. */
export function lasting(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const UTC = "page.utc";
let isUtc = read(UTC) === "yes";

export const showsUtc = () => isUtc;

export function setUtc(value) {
  isUtc = value;
  keep(UTC, value ? "yes" : "no");
}

const pad = (value, width = 2) => String(value).padStart(width, "0");

/** Return the parts of a moment in the zone that the page shows. */
function parts(moment) {
  const date = new Date(moment);
  const get = (name) => (isUtc ? date[`getUTC${name}`]() : date[`get${name}`]());
  return {
    day: `${get("FullYear")}-${pad(get("Month") + 1)}-${pad(get("Date"))}`,
    minute: `${pad(get("Hours"))}:${pad(get("Minutes"))}`,
    second: `${pad(get("Hours"))}:${pad(get("Minutes"))}:${pad(get("Seconds"))}`,
    milli: pad(get("Milliseconds"), 3),
  };
}

export function clockOf(moment) {
  if (!moment) return "no date";
  const each = parts(moment);
  return `${each.second}.${each.milli}`;
}

export const minuteOf = (moment) => parts(moment).minute;
export const dayOf = (moment) => parts(moment).day;
export const dayAndMinute = (moment) => `${parts(moment).day} ${parts(moment).minute}`;

export function fullTime(moment) {
  if (!moment) return "unknown";
  const each = parts(moment);
  return `${each.day} ${each.second}.${each.milli}${isUtc ? " UTC" : ""}`;
}

export function ago(moment, now) {
  return moment ? `${lasting(Math.max((new Date(now) - new Date(moment)) / 1000, 0))} ago` : "never";
}

const OUTCOMES = {
  forwarded: ["forwarded", "✓", "good"],
  filtered: ["filtered", "–", "quiet"],
  dead_lettered: ["dead letter", "✕", "bad"],
};

export const outcomeName = (outcome) => OUTCOMES[outcome]?.[0] ?? outcome;

/** Return a shape with a word. Colour is never the only sign. */
export function sign(text, mark, tone) {
  return make("span", { class: `sign ${tone}`, "data-sign": mark }, text);
}

export function outcomeSign(outcome) {
  const [name, mark, tone] = OUTCOMES[outcome] ?? [outcome, "?", "quiet"];
  return sign(name, mark, tone);
}

const REASONS = {
  type: "type is not sent", sso_login: "login by single sign-on", api_signup: "created by the API",
  agent: "an agent's login", condition: "events.when does not hold", no_user: "names no user",
  other_route: "another route takes it", no_route: "no route takes it",
};

/** Return a reason as a person says it. */
export const reasonText = (reason) => REASONS[reason] ?? (reason ?? "").replaceAll("_", " ");

/** Return a reason with its code, which the commands, the JSON output and the guides use. */
export const reasonWithCode = (reason) =>
  make("span", {}, `${reasonText(reason)} `, make("code", {}, reason));

const TYPES = {
  s: "login", ss: "signup", f: "failed login", fp: "wrong password", fu: "unknown user",
  fs: "failed signup", slo: "logout", seacft: "code exchange", seccft: "client token",
  sertft: "refresh token", sepft: "password token", ssa: "silent login", fsa: "failed silent login",
  sapi: "API call", mgmt_api_read: "API read", limit_wc: "blocked account", gd_auth_succeed: "MFA passed",
  sv: "verified e-mail", scp: "changed password", w: "warning", api_limit: "rate limit",
};

export const typeMeaning = (type) => TYPES[type] ?? "";

/** Copy a text. Without the clipboard of a secure page the old way serves. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea", { class: "unseen", "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  announce("Copied");
}

export function copyButton(text, label = "Copy", name = label) {
  const button = make("button", { type: "button", class: "small", "aria-label": name }, label);
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

/** Read a choice of this browser. A browser may forbid that, and then there is none. */
export function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

export function keep(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // The choice lasts until the page is closed.
  }
}
