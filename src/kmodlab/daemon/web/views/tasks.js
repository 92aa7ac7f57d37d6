// The tasks of the machine: how many in which state and in how much memory, over time; and all of them, one by one.

import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {Chart, Palette} from "../chart.js";
import {short, size, span, whole} from "../format.js";
import {STEPS, Timed} from "../picker.js";
import {TaskTable, facts} from "../tasktable.js";

const STATES = ["running", "sleeping", "stopped", "zombie", "other"];
const TURNOVER = ["started", "ended"];
const EVERY = 2000;
const SELDOM = 10000;
const BRIDGED = 10;
/** Seconds without a sample that are no gap: a machine with very many tasks is looked at less often. */

export class Tasks extends Timed {
  title = "Tasks";

  constructor(page) {
    super(page);
    this.palette = new Palette();
    // "other" has the colour of what has none.
    this.palette.settle([...STATES.filter((name) => name !== "other"), "resident", "virtual", ...TURNOVER]);
    this.pointed = null;
    const how = {chosen: (begin, end) => this.choose(begin, end), picked: (at) => this.table.asOf(at), pointed: (index) => this.point(index)};
    this.charts = [
      {title: "Tasks by state", names: STATES, chart: new Chart("Tasks by state", this.palette, how), shown: (n) => (Number.isInteger(n) ? whole(n) : n.toFixed(1))},
      {title: "Started and ended", names: TURNOVER, chart: new Chart("Started and ended", this.palette, {...how, lines: true}), shown: (n) => `${short(n)}/s`},
      {title: "Memory in use", names: ["resident"], chart: new Chart("Memory in use", this.palette, {...how, bytes: true}), shown: (n) => `${size(n / 1024)}iB`},
      {title: "Address space", names: ["virtual"], chart: new Chart("Address space", this.palette, {...how, bytes: true}), shown: (n) => `${size(n / 1024)}iB`},
    ];
    this.table = new TaskTable(page);
    this.asked = -Infinity;
  }

  point(index) {
    if (index === this.pointed) return;
    this.pointed = index;
    this.page.changed();
  }

  /** Follow the time that goes on, where the last minutes are shown. */
  refresh() {
    const every = this.preset === null ? Infinity : this.preset > 3600 ? SELDOM : EVERY;
    if (this.begin !== undefined && (this.asking || performance.now() - this.asked < every)) return;
    // Who types a time is not to have it replaced.
    if (!this.page.model.latest || this.preset === null || this.page.root.querySelector(".picker input:focus")) return;
    this.pick(this.preset);
  }

  /** Ask for a time; an answer to an older question is dropped. */
  async load(begin, end) {
    Object.assign(this, {begin, end, asked: performance.now(), asking: true});
    const question = (this.question = Symbol("question"));
    try {
      const found = await get("tasks/rates", {begin, end, step: Math.max(1, Math.round((end - begin) / STEPS))});
      if (question !== this.question) return;
      this.rates = found;
      this.problem = null;
      this.draw();
    } catch (error) {
      if (question === this.question) this.problem = error;
    }
    this.asking = false;
    this.page.changed();
  }

  draw() {
    const {begin, step, steps, states, vm, rss, looked} = this.rates;
    const times = Array.from({length: steps}, (_, index) => begin + index * step);
    const bytes = (values) => bridged(values, step).map((one) => (one === null ? null : one * 1048576));
    this.values = {...Object.fromEntries(STATES.map((name) => [name, bridged(states[name], step)])), resident: bytes(rss), virtual: bytes(vm)};
    for (const name of TURNOVER) this.values[name] = bridged(this.rates[name].map((n, index) => (n === null ? null : n / looked[index])), step);
    for (const {names, chart} of this.charts) chart.show(names, times, names.map((name) => this.values[name]), this.page.clock);
  }

  render() {
    this.refresh();
    const {page, begin} = this;
    if (begin === undefined) return html`<p class="empty">Waiting for the machine's clock.</p>`;
    if (this.zone !== page.clock.zone && this.rates) this.draw();
    this.zone = page.clock.zone;
    return html`${this.picker()}${this.table.trouble()}
      ${this.problem ? html`<p class="problem" role="alert"><strong>${this.problem.message}</strong> ${this.problem.hint ?? ""}</p>` : nothing}
      <div class="columns charts">${this.charts.map((one, index) => this.panel(one, index))}</div>
      ${this.table.render()}`;
  }

  panel({title, names, chart, shown}, index) {
    return html`<section class="panel wide-chart"><header><h2>${title}</h2>${index ? nothing : html`<span class="dim">${this.resolution()}</span>${this.page.tableSwitch()}`}</header>
      ${chart.template(this.page.tables)}<p class="legend-line">${names.map((name) => html`<span><span class=${this.palette.swatch(name)}></span>${name} <b>${this.value(name, shown)}</b></span>`)}
      ${names === TURNOVER ? html`<span class="dim">tasks that live between two looks are not seen</span>` : nothing}
      ${names[0] === "resident" ? html`<span class="dim">most ${this.most(shown)}</span>` : nothing}</p></section>`;
  }

  /** What is under the pointer, or the newest that is known. */
  value(name, shown) {
    const values = this.values?.[name] ?? [];
    const found = this.pointed === null ? values.findLast((one) => one !== null) : values[this.pointed];
    return found === null || found === undefined ? "\u2013" : shown(found);
  }

  most(shown) {
    const found = Math.max(...(this.rates?.rss_most ?? []).filter((one) => one !== null));
    return Number.isFinite(found) ? shown(found * 1048576) : "\u2013";
  }

  resolution() {
    if (!this.rates) return "";
    if (!this.values.running.some((one) => one !== null)) return "nobody saw them in this time";
    return `a point is ${span(this.rates.step)}; click for the tasks of then`;
  }

  details() {
    return facts(this.page, this.table.task);
  }

  repaint() {
    for (const {chart} of this.charts) chart.repaint();
  }
}

/** What was known before is taken to last, where the next sample comes soon. */
function bridged(values, step) {
  const found = [...values];
  const most = Math.floor(BRIDGED / step);
  let last = -1;
  found.forEach((value, index) => {
    if (value === null) return;
    if (last >= 0 && index - last - 1 <= most) found.fill(found[last], last + 1, index);
    last = index;
  });
  return found;
}

