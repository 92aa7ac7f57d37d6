// What the page knows: what came, put together.

const WORST = ["infra-error", "panic", "oops", "hang", "leak", "load-error", "build-error", "fail", "pass"];

export class Model {
  constructor() {
    this.head = null;
    this.slots = new Map();
    this.results = [];
  }

  /** Take a frame; a `state` has all there is, a `tick` what is new. */
  take(kind, {slots, results, ...head}) {
    if (kind === "state") {
      this.slots.clear();
      this.results = [];
    }
    this.head = head;
    this.arrived = performance.now();
    for (const slot of slots) this.slots.set(slot.slot, {...slot, printed: this.printed(slot), arrived: this.arrived});
    if (results.length) this.results = this.results.concat(results);
  }

  /** The end of a console: the server says how much of it is kept. */
  printed({slot, console: {anew, text, kept}}) {
    const all = anew ? text : (this.slots.get(slot)?.printed ?? "") + text;
    return kept ? all.slice(-kept) : "";
  }

  get over() {
    return this.head?.state === "finished" || this.head?.state === "broken off";
  }

  /** Seconds since something came that goes on. */
  since(arrived) {
    return this.over ? 0 : (performance.now() - arrived) / 1000;
  }

  get elapsed() {
    return this.head.elapsed + this.since(this.arrived);
  }

  get left() {
    return this.head.left === null ? null : Math.max(0, this.head.left - this.since(this.arrived));
  }

  count(...verdicts) {
    return verdicts.reduce((sum, verdict) => sum + (this.head.counts[verdict] ?? 0), 0);
  }

  /** The results by a column; of equals the newest first. */
  sorted(by, down) {
    const keys = {
      number: (one) => one.number, student: (one) => one.student.toLocaleLowerCase(), verdict: (one) => WORST.indexOf(one.verdict),
      points: (one) => one.score ?? -1, seconds: (one) => one.seconds ?? -1,
    };
    const key = keys[by];
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return [...this.results].sort((a, b) => (down ? -1 : 1) * order(key(a), key(b)) || b.number - a.number);
  }
}
