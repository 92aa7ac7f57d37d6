// The past: a chart of any time, what was busiest in it, and its calls one by one as far as they are kept.

import {html, nothing} from "../vendor/lit.js";
import {get, rows} from "../api.js";
import {Chart, Palette} from "../chart.js";
import {span, whole} from "../format.js";
import {STEPS, Timed} from "../picker.js";
import {calls} from "../table.js";
import {ranking} from "./top.js";

const PAGE = 100;
const NAMES = {call: "call", status: "status", process: "process"};

export class History extends Timed {
  title = "History";

  constructor(page) {
    super(page);
    this.by = "call";
    this.filter = "";
    this.palette = new Palette();
    this.chart = new Chart("Calls a second in the past", this.palette, {chosen: (begin, end) => this.choose(begin, end)});
    this.rates = null;
    this.top = [];
    this.rows = [];
  }

  /** Ask for a time; an answer to an older question is dropped. */
  async load(begin, end) {
    Object.assign(this, {begin, end, before: null, rows: [], problem: null, loading: true});
    this.page.changed();
    const asked = (this.asked = Symbol("asked"));
    const {by} = this;
    try {
      const found = await Promise.all([
        get("rates", {begin, end, step: Math.max(1, Math.round((end - begin) / STEPS)), by}),
        get("top", {begin, end, by, limit: 20}),
      ]);
      if (asked !== this.asked) return;
      [this.rates, this.top] = [found[0], rows(found[1])];
      this.draw();
      await this.more();
    } catch (error) {
      if (asked === this.asked) this.problem = error;
    }
    this.loading = false;
    this.page.changed();
  }

  draw() {
    const {begin, step, steps, series, holes} = this.rates;
    const total = (one) => one.n.reduce((sum, n) => sum + n, 0);
    const ranked = series.map((one) => ({...one, total: total(one)})).filter((one) => one.total).sort((a, b) => b.total - a.total);
    const names = this.palette.settle(ranked.map((one) => one.name).filter((name) => name !== "other"));
    const times = Array.from({length: steps}, (_, index) => begin + index * step);
    const values = names.map((name) => ranked.find((one) => one.name === name).n.map((n) => n / step));
    const left = ranked.filter((one) => !names.includes(one.name));
    const others = times.map((_, index) => left.reduce((sum, one) => sum + one.n[index], 0) / step);
    this.chart.show(left.length ? [...names, "other"] : names, times, left.length ? [...values, others] : values, this.page.clock, rows(holes));
  }

  /** The next calls of the time, one by one. */
  async more() {
    const {begin, end, filter, before} = this;
    const found = await get("events", {begin, end, filter, limit: PAGE, before});
    this.rows = this.rows.concat(rows(found.rows));
    this.before = found.before;
    this.page.changed();
  }

  async older() {
    await this.more().catch((error) => { this.problem = error; });
    this.page.changed();
  }

  render() {
    if (this.begin === undefined && this.page.model.latest) this.pick(this.preset);
    const {page, begin} = this;
    if (begin === undefined) return html`<p class="empty">Waiting for the machine's clock.</p>`;
    if (this.zone !== page.clock.zone && this.rates) this.draw();
    this.zone = page.clock.zone;
    return html`${this.picker()}${this.problem ? html`<p class="problem" role="alert"><strong>${this.problem.message}</strong> ${this.problem.hint ?? ""}</p>` : nothing}
      <section class="panel wide-chart"><header><h2>Calls a second, by ${NAMES[this.by]}</h2><span class="dim">${this.resolution()}</span>${page.tableSwitch()}</header>
        <div class="chart-and-legend">${this.chart.template(page.tables)}<div class="legend-of-past">${this.legend()}</div></div></section>
      ${this.losses()}
      <section class="panel"><header class="bar"><h2>Calls, one by one</h2>${this.search()}</header>
        ${calls(page, this.rows, {label: "Calls of that time", empty: this.loading ? "Looking\u2026" : "None, or they are not kept one by one any more; the sums above are.",
          foot: this.before ? html`<p class="more"><button @click=${() => this.older()}>Older ones</button></p>` : nothing})}</section>`;
  }

  picker() {
    return super.picker(html`<label for="by">by</label><select id="by" @change=${(event) => this.sortBy(event.target.value)}>${Object.keys(NAMES).map((by) => html`<option ?selected=${by === this.by}>${by}</option>`)}</select>`);
  }

  sortBy(by) {
    this.by = by;
    this.load(this.begin, this.end);
  }

  search() {
    const submit = (event) => {
      event.preventDefault();
      this.filter = new FormData(event.target).get("past-filter").trim();
      Object.assign(this, {before: null, rows: [], problem: null});
      this.older();
    };
    return html`<form class="filter" role="search" @submit=${submit}><label for="past-filter">Filter</label>
      <input id="past-filter" name="past-filter" type="search" autocomplete="off" spellcheck="false" maxlength="512" placeholder="status=failed comm=sshd"><button>Show</button></form>`;
  }

  resolution() {
    if (!this.rates) return "";
    const {step, tier, stopped} = this.rates;
    return `a point is ${span(step)}${tier > 1 ? `, kept by ${span(tier)}` : ""}${stopped ? "; the search took too long, the oldest are missing" : ""}`;
  }

  legend() {
    return ranking(this.page, this.top, "Busiest of that time", {brief: true});
  }

  /** Why the chart has holes. */
  losses() {
    const holes = this.rates ? rows(this.rates.holes) : [];
    if (!holes.length) return nothing;
    const {clock} = this.page;
    return html`<section class="panel"><header><h2>Not in this chart</h2></header><div class="scroll" tabindex="0" role="region" aria-label="Holes"><table>
      <thead><tr><th scope="col">From</th><th scope="col">to</th><th scope="col" class="number">CPU</th><th scope="col" class="number">Calls</th><th scope="col">Why</th></tr></thead>
      <tbody>${holes.map((hole) => html`<tr><td>${clock.full(hole.begin)}</td><td>${clock.full(hole.end)}</td><td class="number">${hole.cpu}</td><td class="number">${whole(hole.n)}</td><td>${hole.reason}</td></tr>`)}</tbody></table></div></section>`;
  }

  repaint() {
    this.chart.repaint();
  }
}
