// A time that is chosen: the last minutes, or from when to when; what views of the past have in common.

import {html, nothing} from "./vendor/lit.js";

const PRESETS = [[60, "1 min"], [900, "15 min"], [3600, "1 h"], [21600, "6 h"], [86400, "1 d"], [604800, "7 d"], [2592000, "30 d"], [31557600, "1 y"], [63115200, "2 y"]];
export const STEPS = 240;
/** Points of a chart, about. */

export class Timed {
  /** Who is one has `load(begin, end)`. */
  constructor(page) {
    this.page = page;
    this.preset = 900;
  }

  pick(seconds) {
    this.preset = seconds;
    this.load(this.page.model.now - seconds, this.page.model.now);
  }

  choose(begin, end) {
    this.preset = null;
    this.load(begin, Math.max(end, begin + 1));
  }

  submit(event) {
    event.preventDefault();
    const given = new FormData(event.target);
    const [begin, end] = ["from", "to"].map((name) => this.page.clock.parsed(given.get(name)));
    if (begin === null || end === null || begin >= end) {
      this.problem = {message: "The time has to begin before it ends."};
      this.page.changed();
      return;
    }
    this.choose(begin, end);
  }

  picker(more = nothing) {
    const {page, begin, end} = this;
    return html`<form class="bar loose picker" @submit=${(event) => this.submit(event)}>
      <div class="presets" role="group" aria-label="The last">${PRESETS.map(([seconds, words]) => html`<button type="button" class="chip" aria-pressed=${this.preset === seconds ? "true" : "false"} @click=${() => this.pick(seconds)}>${words}</button>`)}</div>
      <label for="from">From</label><input id="from" name="from" type="datetime-local" step="1" .value=${page.clock.input(begin)}>
      <label for="to">to</label><input id="to" name="to" type="datetime-local" step="1" .value=${page.clock.input(end)}>
      <span class="dim">${page.clock.label}</span><button>Show</button>${more}</form>`;
  }
}
