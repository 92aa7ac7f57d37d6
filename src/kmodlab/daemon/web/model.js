// What the stream has told: bins of a second for the charts, the newest rows, and the sums that have to come out.

import {rows} from "./api.js";

export const WINDOW = 180;
/** Seconds that the live chart shows. */
const MOST_ROWS = 200;
const MOST_BLOCKED = 2000;
const RECENT = 10;
/** Seconds over which the numbers beside the chart are taken. */

class Bin {
  constructor(second) {
    this.second = second;
    this.calls = new Map();
    this.n = 0;
    this.blocked = 0;
    this.errors = 0;
  }

  /** Add what came to a call. */
  add(call, status, n, errors, histogram) {
    const kept = this.calls.get(call) ?? {n: 0, errors: 0, blocked: 0, histogram: new Float64Array(64)};
    this.calls.set(call, kept);
    kept.n += n;
    kept.errors += errors;
    this.n += n;
    this.errors += errors;
    if (status === "BLOCKED") {
      kept.blocked += n;
      this.blocked += n;
    }
    histogram.forEach((count, bucket) => { kept.histogram[bucket] += count; });
  }
}

export class Model {
  constructor() {
    this.machine = null;
    this.reset();
  }

  /** Forget everything but the machine. */
  reset() {
    this.bins = new Map();
    this.primed = new Map();
    this.views = new Map();
    this.blocked = [];
    this.blockedMore = 0;
    this.latest = null;
    this.base = null;
    this.events = 0;
    this.frames = 0;
    this.arrived = 0;
    this.epochs = 0;
    this.troubles = [];
  }

  /** Begin with what the server knows. */
  begin(state) {
    this.reset();
    this.machine = state.machine;
    if (state.base) this.anchor(state.base);
  }

  anchor(head) {
    this.latest = head;
    this.base = head.ledger.rolled ?? 0;
    this.arrived = performance.now();
    this.troubles = head.troubles;
  }

  /** Take a tick. Times are the machine's own clock, which never steps; what it is called may change. */
  apply(frame) {
    if (this.latest && frame.epoch !== this.latest.epoch) this.epochs += 1;
    if (this.latest === null) this.anchor({...frame, ledger: {...frame.ledger, rolled: (frame.ledger.rolled ?? 0) - frame.events}});
    this.latest = frame;
    this.arrived = performance.now();
    this.frames += 1;
    // What is shown is what is held against the ledger: a frame may say one thing, and bring another.
    this.events += frame.calls.n.reduce((sum, n) => sum + n, 0);
    this.troubles = frame.troubles;
    this.count(frame);
    for (const view of frame.views) this.keep(view);
    this.blocked = rows(frame.blocked).reverse().concat(this.blocked).slice(0, MOST_BLOCKED);
    this.blockedMore += frame.blocked_more;
  }

  /** Put the sums of a frame into the seconds that it ends, and the one that it is in: no second is without a frame. */
  count(frame) {
    const last = Math.ceil(frame.clock) - 1;
    const bins = Math.max(1, Math.min(WINDOW, last + 1 - Math.ceil(frame.clock - frame.seconds)));
    const {call, status, n, errors, histogram} = frame.calls;
    for (let index = 0; index < bins; index += 1) {
      const bin = this.bin(last - index);
      call.forEach((name, row) => bin.add(name, status[row], n[row] / bins, errors[row] / bins, index ? [] : histogram[row]));
    }
    for (const second of this.bins.keys()) if (second < last - WINDOW - 2) this.bins.delete(second);
  }

  bin(second) {
    if (!this.bins.has(second)) this.bins.set(second, new Bin(second));
    return this.bins.get(second);
  }

  /** Fill the time before the page was there, from the history. */
  prime(rates) {
    if (!this.latest) return;
    const offset = this.latest.wall - this.latest.clock;
    const first = this.bins.size ? Math.min(...this.bins.keys()) : Math.floor(this.latest.clock);
    for (const series of rates.series) {
      series.n.forEach((n, step) => {
        const second = Math.floor(rates.begin + step * rates.step - offset);
        if (n && second < first && second > first - WINDOW) this.bin(second).add(series.name, "LOGGED", n, series.errors[step], []);
      });
    }
  }

  keep(view) {
    const kept = this.views.get(view.filter) ?? {rows: [], matched: 0, shown: 0};
    // Each CPU sends its own: together they are in the order of time only where they are put into it.
    const newest = rows(view.rows).sort((a, b) => b.wall - a.wall);
    this.views.set(view.filter, {
      rows: newest.concat(kept.rows).slice(0, MOST_ROWS),
      matched: kept.matched + view.matched,
      shown: kept.shown + view.shown,
    });
  }

  /** Put rows of the history behind those that came. */
  prefill(filter, older) {
    const kept = this.views.get(filter) ?? {rows: [], matched: 0, shown: 0};
    const seen = new Set(kept.rows.map(identity));
    const all = kept.rows.concat(older.filter((row) => !seen.has(identity(row))));
    this.views.set(filter, {...kept, rows: all.sort((a, b) => b.wall - a.wall).slice(0, MOST_ROWS)});
  }

  /** The last second that is whole. */
  get second() {
    return this.latest ? Math.floor(this.latest.clock) - 1 : 0;
  }

  /** What a second's time of day is. */
  wall(second) {
    return second + this.latest.wall - this.latest.clock;
  }

  /** The machine's time of day, now: the browser's own clock may be wrong. It will have to do while nothing was ever recorded. */
  get now() {
    return this.latest?.wall ? this.latest.wall + (performance.now() - this.arrived) / 1000 : (this.machine?.wall || Date.now() / 1000);
  }

  /** Sums of the last seconds, by call, busiest first; rates are a second's. */
  recent(seconds = RECENT) {
    const sums = new Map();
    let covered = 0;
    for (let index = 0; index < seconds; index += 1) {
      const bin = this.bins.get(this.second - index);
      if (!bin) continue;
      covered += 1;
      for (const [call, one] of bin.calls) add(sums, call, one);
    }
    const all = [...sums].map(([call, one]) => ({call, ...one, rate: one.n / Math.max(1, covered)}));
    return all.sort((a, b) => b.n - a.n);
  }

  /** Rates of the last seconds, summed over all calls. */
  rates(seconds = 3) {
    const found = {n: 0, errors: 0, blocked: 0};
    let covered = 0;
    for (let index = 0; index < seconds; index += 1) {
      const bin = this.bins.get(this.second - index);
      if (!bin) continue;
      covered += 1;
      for (const key of Object.keys(found)) found[key] += bin[key];
    }
    for (const key of Object.keys(found)) found[key] /= Math.max(1, covered);
    return found;
  }

  /** What came in, held against what the ledger says. */
  get sums() {
    const rolled = this.latest?.ledger.rolled ?? 0;
    const expected = rolled - (this.base ?? rolled);
    const open = this.latest?.open ?? [];
    const missing = expected - this.events;
    // Nothing is said to close before anything was heard.
    const known = this.latest !== null;
    return {known, base: this.base ?? 0, events: this.events, rolled, missing, open, closes: known && !missing && !open.length};
  }
}

/** Whether a machine is a copy of one, or of several: nothing of it can be changed here. */
export function copied(machine) {
  return machine?.state.startsWith("copied from ") ?? false;
}

/** What tells a call from all others. */
export function identity(row) {
  return `${row.epoch}:${row.cpu}:${row.seq}`;
}

function add(sums, call, one) {
  const kept = sums.get(call) ?? {n: 0, errors: 0, blocked: 0, histogram: new Float64Array(64)};
  sums.set(call, kept);
  kept.n += one.n;
  kept.errors += one.errors;
  kept.blocked += one.blocked;
  one.histogram.forEach((count, bucket) => { kept.histogram[bucket] += count; });
}
