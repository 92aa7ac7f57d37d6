// What happens now: rates, the chart by call, the newest calls, the newest blocked ones.

import {html} from "../vendor/lit.js";
import {Chart} from "../chart.js";
import {duration, percent, plain, quantile, short, whole} from "../format.js";
import {WINDOW} from "../model.js";
import {calls} from "../table.js";

const NEWEST = 10;

export class Live {
  title = "Live";

  constructor(page) {
    this.page = page;
    this.pointed = null;
    this.chart = new Chart("Calls a second", page.palette, {pointed: (index) => this.point(index)});
    this.drawn = null;
  }

  point(index) {
    if (index === this.pointed) return;
    this.pointed = index;
    this.page.changed();
  }

  /** Draw once a second: what is drawn is whole seconds. */
  draw(recent) {
    const {model, clock, palette} = this.page;
    const stamp = `${model.second} ${clock.zone}`;
    if (!model.latest || stamp === this.drawn) return;
    this.drawn = stamp;
    const names = palette.settle(recent.map((one) => one.call));
    const seconds = Array.from({length: WINDOW}, (_, index) => model.second - WINDOW + 1 + index);
    const bins = seconds.map((second) => model.bins.get(second));
    const series = names.map((name) => bins.map((bin) => (bin ? (bin.calls.get(name)?.n ?? 0) : null)));
    const rest = (bin) => [...bin.calls].reduce((sum, [name, one]) => sum + (names.includes(name) ? 0 : one.n), 0);
    const others = bins.map((bin) => (bin ? rest(bin) : null));
    const left = others.some((n) => n) ? {names: ["other"], series: [others]} : {names: [], series: []};
    this.chart.show([...names, ...left.names], seconds.map((second) => model.wall(second)), [...series, ...left.series], clock);
  }

  render() {
    const {page} = this;
    const {model} = page;
    const recent = model.recent(60);
    this.draw(recent);
    const filter = model.views.get(page.filter) ?? {rows: []};
    return html`${this.tiles()}
      <section class="panel wide-chart"><header><h2>Calls a second</h2>${page.tableSwitch()}</header>
        <div class="chart-and-legend">${this.chart.template(page.tables)}${this.legend()}</div></section>
      <div class="columns">
        <section class="panel"><header><h2>Newest calls</h2><a href="#events">All of them</a></header>
          ${calls(page, filter.rows.slice(0, NEWEST), {label: "Newest calls", brief: true, empty: this.waiting()})}</section>
        <section class="panel"><header><h2>Newest blocked calls</h2><a href="#blocked">All of them</a></header>
          ${calls(page, page.views.blocked.rows.slice(0, NEWEST), {label: "Newest blocked calls", brief: true, empty: "No call was blocked."})}</section>
      </div>`;
  }

  waiting() {
    return this.page.filter ? "No call matches the filter of the events." : "No call yet.";
  }

  tiles() {
    const {model} = this.page;
    const rate = model.rates();
    const all = new Float64Array(64);
    for (const one of model.recent()) one.histogram.forEach((n, bucket) => { all[bucket] += n; });
    const lost = this.page.lost();
    const behind = model.latest?.behind ?? 0;
    return html`<dl class="tiles">
      ${tile("Calls a second", short(rate.n))}
      ${tile("Blocked a second", short(rate.blocked), rate.blocked ? "bad" : "")}
      ${tile("Failed", percent(rate.errors, rate.n))}
      ${tile("Latency, median", duration(quantile(all, 0.5)))}
      ${tile("Latency, 99 %", duration(quantile(all, 0.99)))}
      ${tile("Lost since load", whole(lost), lost ? "warn" : "good")}
      ${tile("Behind", `${behind < 1 ? 0 : Math.round(behind)} s`, behind < 2 ? "good" : "warn")}
    </dl>`;
  }

  /** The calls of the last seconds, or those of the second under the pointer. */
  legend() {
    const {model, palette, clock} = this.page;
    const at = this.pointed === null ? null : model.bins.get(model.second - WINDOW + 1 + this.pointed);
    const now = this.pointed === null ? model.recent() : [...(at?.calls ?? [])].map(([call, one]) => ({call, ...one, rate: one.n})).sort((a, b) => b.n - a.n);
    const all = now.reduce((sum, one) => sum + one.n, 0);
    const when = this.pointed === null ? "last 10 s" : clock.time(model.wall(model.second - WINDOW + 1 + this.pointed));
    return html`<div class="scroll legend" tabindex="0" role="region" aria-label="Calls of the chart">
      <table><thead><tr><th scope="col">Call, ${when}</th><th scope="col" class="number">/s</th><th scope="col" class="number">Share</th>
        <th scope="col" class="number">Failed</th><th scope="col" class="number">Blocked</th><th scope="col" class="number">Median</th><th scope="col" class="number">99 %</th></tr></thead>
      <tbody>${now.map((one) => html`<tr><th scope="row"><span class=${palette.swatch(one.call)}></span>${plain(one.call)}</th>
        <td class="number">${short(one.rate)}</td><td class="number">${percent(one.n, all)}</td>
        <td class="number ${one.errors ? "" : "faint"}">${percent(one.errors, one.n)}</td>
        <td class="number ${one.blocked ? "bad" : "faint"}">${one.blocked ? whole(one.blocked) : "0"}</td>
        <td class="number">${duration(quantile(one.histogram, 0.5))}</td><td class="number">${duration(quantile(one.histogram, 0.99))}</td></tr>`)}</tbody>
      </table></div>`;
  }

  repaint() {
    this.chart.repaint();
  }
}

function tile(name, value, tone = "") {
  return html`<div class="tile"><dt>${name}</dt><dd class=${tone}>${value}</dd></div>`;
}
