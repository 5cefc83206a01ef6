// The samples of the last hour: those that the daemon kept, and those that came since.

const MOST_SAMPLES = 400;
const EVERY_MS = 9_000;
const COUNTS = ["forwarded", "filtered", "dead_lettered"];
const MINUTE = 60_000;
const FEWEST_MINUTES = 30;

export class History {
  constructor() {
    this.samples = [];
    this.last = null;
  }

  /** Load what the daemon kept. Without an answer the page begins with what it sees itself. */
  async load() {
    try {
      const answer = await fetch("history", { cache: "no-store" });
      if (answer.ok) this.samples = (await answer.json()).samples;
    } catch {
      // The next state comes anyhow.
    }
  }

  /** Take the sample of a state. It counts as the newest one until the next comes. */
  add(sample) {
    if (!sample) return;
    this.last = sample;
    const before = this.samples.at(-1);
    if (before && new Date(sample.at) - new Date(before.at) < EVERY_MS) return;
    this.samples.push(sample);
    this.samples.splice(0, Math.max(this.samples.length - MOST_SAMPLES, 0));
  }

  /** Return the samples, the newest one included. */
  all() {
    const { last, samples } = this;
    return last && samples.at(-1) !== last ? [...samples, last] : samples;
  }

  /** Return the events of each minute, of the last half hour at least.
   *
   * A count that falls is of another run of the daemon, and began at zero.
   */
  minutes() {
    const samples = this.all();
    if (!samples.length) return [];
    const minuteOf = (sample) => Math.floor(new Date(sample.at) / MINUTE);
    const found = new Map();
    const last = minuteOf(samples.at(-1));
    for (let at = Math.min(minuteOf(samples[0]), last - FEWEST_MINUTES); at <= last; at += 1) {
      found.set(at, { at: at * MINUTE, forwarded: 0, filtered: 0, dead_lettered: 0 });
    }
    samples.forEach((sample, at) => {
      const before = samples[at - 1];
      const minute = found.get(minuteOf(sample));
      if (!before || !minute) return;
      for (const name of COUNTS) {
        minute[name] += sample[name] >= before[name] ? sample[name] - before[name] : sample[name];
      }
    });
    return [...found.values()];
  }

  /** Return the events of the last minute, counted from now, or null before two samples. */
  rate() {
    const samples = this.all();
    const last = samples.at(-1);
    const first = samples.find((each) => new Date(last.at) - new Date(each.at) <= MINUTE);
    const seconds = last ? (new Date(last.at) - new Date(first.at)) / 1000 : 0;
    const count = last ? last.read - first.read : 0;
    return seconds > 0 && count >= 0 ? (count * 60) / seconds : null;
  }
}
