// Charts: stacked areas over time, drawn by uPlot, and the same as a table.

import {html} from "./vendor/lit.js";
import uPlot from "./vendor/uplot.js";
import {plain, short, size} from "./format.js";

export const SLOTS = 8;
/** Names that have a colour of their own; what is left is `other`. */

const BYTES = {values: (value) => (value ? size(value / 1024) : "0"), incrs: Array.from({length: 50}, (_, power) => 2 ** power)};
/** Of an axis of bytes: its marks are as people know them, 512 M and not 500 M. */
const STATUS = {LOGGED: "--good", BLOCKED: "--bad", FAILED: "--warn"};

/** Gives each name a colour, and leaves it there: a chart whose colours move cannot be read. */
export class Palette {
  constructor() {
    this.slots = new Array(SLOTS).fill(null);
  }

  /** Settle who has a slot: those of `names`, busiest first, as far as there are slots. */
  settle(names) {
    const wanted = names.slice(0, SLOTS);
    for (const [slot, name] of this.slots.entries()) if (name !== null && !wanted.includes(name)) this.slots[slot] = null;
    for (const name of wanted) if (!this.slots.includes(name)) this.slots[this.slots.indexOf(null)] = name;
    return wanted.toSorted((a, b) => this.slots.indexOf(a) - this.slots.indexOf(b));
  }

  /** The CSS variable of a name. */
  variable(name) {
    if (STATUS[name]) return STATUS[name];
    const slot = this.slots.indexOf(name);
    return slot < 0 ? "--other" : `--hue-${slot + 1}`;
  }

  /** The class of the square beside a name. */
  swatch(name) {
    return `swatch swatch${this.variable(name).slice(1)}`;
  }
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export class Chart {
  /** `chosen` gets (begin, end) where somebody drags; `pointed` the index under the pointer, or null; `picked` a time that is clicked. Values may be `bytes`; `lines` are not put one upon the other. */
  constructor(label, palette, {chosen, pointed, picked, bytes = false, lines = false} = {}) {
    this.label = label;
    this.palette = palette;
    this.chosen = chosen;
    this.pointed = pointed;
    this.picked = picked;
    this.lines = lines;
    this.axis = bytes ? BYTES : {values: short};
    this.element = document.createElement("div");
    this.element.className = "chart";
    this.names = [];
    this.times = [];
    this.series = [];
    this.clock = null;
    this.holes = [];
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  /** Show these: times in s since 1970, and for each name its values, a second's. */
  show(names, times, series, clock, holes = []) {
    const anew = !this.plot || names.join("\n") !== this.names.join("\n");
    Object.assign(this, {names, times, series, clock, holes});
    if (anew) this.build();
    else this.plot.setData(this.stacked());
  }

  /** The sums up to each name, the largest first: areas that are painted one over the other. */
  stacked() {
    if (this.lines) return [this.times, ...this.series.toReversed()];
    const sums = new Float64Array(this.times.length);
    // What is not known is no zero: there is a gap.
    const layers = this.series.map((values) => values.map((value, index) => (value === null ? null : (sums[index] += value))));
    return [this.times, ...layers.reverse()];
  }

  build() {
    this.plot?.destroy();
    this.plot = null;
    const {width, height} = this.size();
    if (!width) return;
    this.plot = new uPlot(this.options(width, height), this.stacked(), this.element);
    if (this.picked) this.plot.over.addEventListener("click", () => this.click());
    this.plot.root.setAttribute("role", "img");
    this.plot.root.setAttribute("aria-label", `${this.label}: ${this.lines ? "lines" : "areas"} by ${this.names.map(plain).join(", ") || "nothing yet"}. The key t shows it as a table.`);
  }

  options(width, height) {
    const layers = this.names.map((name) => this.layer(name)).reverse();
    const font = "12px system-ui, sans-serif";
    const axis = {stroke: css("--dim"), font, grid: {stroke: css("--grid"), width: 1}, ticks: {show: false}};
    return {
      width, height, series: [{}, ...layers], legend: {show: false}, padding: [8, 22, 0, 0],
      cursor: {points: {show: false}, drag: {x: Boolean(this.chosen), y: false, setScale: false}, y: false},
      scales: {x: {time: true}, y: {range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1]}},
      axes: [{...axis, space: 70, size: 30, values: (_, splits, __, ___, step) => splits.map((at) => this.tick(at, step))},
        {...axis, size: 52, ...this.axis, values: (_, splits) => splits.map(this.axis.values)}],
      hooks: {drawClear: [(plot) => this.shade(plot)], setCursor: [(plot) => this.pointed?.(plot.cursor.idx ?? null)], setSelect: [(plot) => this.select(plot)]},
    };
  }

  layer(name) {
    const colour = css(this.palette.variable(name));
    return {label: name, stroke: colour, width: this.lines ? 1.5 : 1, fill: this.lines || css("--fill") === "none" ? undefined : colour, points: {show: false}, spanGaps: false};
  }

  tick(at, step) {
    if (!this.clock) return "";
    if (step >= 86400) return this.clock.date(at);
    return step >= 60 ? this.clock.time(at).slice(0, 5) : this.clock.time(at);
  }

  /** Stretches in which calls were lost, or nothing was recorded. */
  shade(plot) {
    plot.ctx.save();
    plot.ctx.fillStyle = css("--hole");
    for (const {begin, end} of this.holes) {
      const left = Math.max(plot.bbox.left, plot.valToPos(begin, "x", true));
      const right = Math.min(plot.bbox.left + plot.bbox.width, plot.valToPos(end, "x", true));
      if (right >= left) plot.ctx.fillRect(left, plot.bbox.top, Math.max(2, right - left), plot.bbox.height);
    }
    plot.ctx.restore();
  }

  select(plot) {
    const {left, width} = plot.select;
    if (width < 4) return;
    this.dragged = true;
    this.chosen?.(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
    plot.setSelect({left: 0, top: 0, width: 0, height: 0}, false);
  }

  /** A drag ends in a click, too. */
  click() {
    const at = this.plot.cursor.idx;
    if (!this.dragged && at !== null && at !== undefined) this.picked(this.times[at]);
    this.dragged = false;
  }

  size() {
    return {width: this.element.clientWidth, height: this.element.clientHeight};
  }

  resize() {
    const {width, height} = this.size();
    if (!width) return;
    if (this.plot) this.plot.setSize({width, height});
    else if (this.times.length) this.build();
  }

  /** Draw again in other colours. */
  repaint() {
    if (this.times.length) this.build();
  }

  /** The chart, or the same as a table, newest first. */
  template(asTable) {
    return asTable ? this.table() : html`<div class="chart-place">${this.element}</div>`;
  }

  table() {
    const order = this.times.map((_, index) => index).reverse();
    return html`<div class="scroll chart-table" tabindex="0" role="region" aria-label=${`${this.label} as a table`}>
      <table><thead><tr><th scope="col">Time</th>${this.names.map((name) => html`<th scope="col" class="number">${plain(name)}</th>`)}</tr></thead>
      <tbody>${order.map((at) => html`<tr><th scope="row">${this.clock.full(this.times[at])}</th>${this.series.map((values) => html`<td class="number">${values[at] === null ? "\u2013" : this.axis.values(values[at])}</td>`)}</tr>`)}</tbody>
      </table></div>`;
  }
}
