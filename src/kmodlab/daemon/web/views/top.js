// Who does most: processes and calls of the last minutes.

import {html, nothing} from "../vendor/lit.js";
import {get, rows} from "../api.js";
import {duration, percent, plain, whole} from "../format.js";

const SPANS = [["60", "last minute"], ["900", "last 15 minutes"], ["3600", "last hour"], ["86400", "last day"]];
const EVERY = 2000;
const LIMIT = 50;

export class Top {
  title = "Top";

  constructor(page) {
    this.page = page;
    this.seconds = "60";
    this.found = {process: [], call: []};
    this.asked = -Infinity;
  }

  /** Ask again, every two seconds; a longer time less often. */
  refresh() {
    const every = EVERY * (Number(this.seconds) > 900 ? 5 : 1);
    if (this.asking || performance.now() - this.asked < every) return;
    this.asked = performance.now();
    this.asking = this.ask().finally(() => { this.asking = null; this.page.changed(); });
  }

  async ask() {
    const end = this.page.model.now;
    const begin = end - Number(this.seconds);
    try {
      const [process, call] = await Promise.all(["process", "call"].map((by) => get("top", {begin, end, by, limit: LIMIT})));
      this.found = {process: rows(process), call: rows(call)};
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
  }

  choose(seconds) {
    this.seconds = seconds;
    this.asked = -Infinity;
    this.page.changed();
  }

  render() {
    this.refresh();
    const {process, call} = this.found;
    return html`<div class="bar loose"><label for="top-span">Over the</label>
        <select id="top-span" @change=${(event) => this.choose(event.target.value)}>${SPANS.map(([value, words]) => html`<option value=${value} ?selected=${value === this.seconds}>${words}</option>`)}</select>
        ${this.problem ? html`<span class="bad" role="status">${this.problem.message}</span>` : nothing}</div>
      <div class="columns uneven">
        <section class="panel"><header><h2>Processes</h2><span class="dim">click for their calls</span></header>${this.ranking(process, "Processes")}</section>
        <section class="panel"><header><h2>Calls</h2></header>${this.ranking(call, "Calls")}</section>
      </div>`;
  }

  ranking(found, label) {
    return ranking(this.page, found, label);
  }
}

/** A ranking as a table, with a bar for each share. */
export function ranking(page, found, label, {brief = false} = {}) {
  if (!found.length) return html`<p class="empty">Nothing in this time.</p>`;
  const all = found.reduce((sum, one) => sum + one.n, 0);
  const processes = found.some((one) => one.pid !== null);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table class="ranking ${brief ? "brief-ranking" : ""}">
    <thead><tr><th scope="col">${processes ? "Process" : "Call"}</th>${processes ? html`<th scope="col" class="number">PID</th><th scope="col" class="number wide">UID</th>` : nothing}
      <th scope="col" class="number">Calls</th><th scope="col" class="share">Share</th><th scope="col" class="number">Failed</th><th scope="col" class="number">Blocked</th><th scope="col" class="number wide">Mean latency</th></tr></thead>
    <tbody>${found.map((one) => html`<tr><th scope="row">${who(page, one)}</th>
      ${processes ? html`<td class="number">${one.pid || ""}</td><td class="number wide">${one.pid ? one.uid : ""}</td>` : nothing}
      <td class="number">${whole(one.n)}</td><td class="share"><meter min="0" max=${found[0].n} .value=${one.n} aria-label="share"></meter><span>${percent(one.n, all)}</span></td>
      <td class="number ${one.errors ? "" : "faint"}">${percent(one.errors, one.n)}</td><td class="number ${one.blocked ? "bad" : "faint"}">${whole(one.blocked)}</td>
      <td class="number wide">${one.latency_known ? duration(one.latency_sum / one.latency_known) : one.latency_sum ? duration(one.latency_sum / one.n) : "\u2013"}</td></tr>`)}</tbody>
  </table></div>`;
}

function who(page, one) {
  if (one.pid === null) return html`<button class="plain" @click=${() => page.filterBy(`call=${one.name}`)}><span class=${page.palette.swatch(one.name)}></span>${plain(one.name)}</button>`;
  if (!one.pid) return html`<i>all others</i>`;
  return html`<button class="plain" @click=${() => page.filterBy(`pid=${one.pid}`)}><bdi>${plain(one.comm)}</bdi></button>`;
}
