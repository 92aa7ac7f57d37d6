// The newest calls, one by one: filtered by the server, held where somebody reads.

import {html, nothing} from "../vendor/lit.js";
import {whole} from "../format.js";
import {calls} from "../table.js";

const EXAMPLES = ["status=blocked", "status=failed", "call=openat,unlink", "uid=0", "/etc/"];

export class Events {
  title = "Events";

  constructor(page) {
    this.page = page;
    this.held = null;
    this.seen = [];
  }

  get paused() {
    return this.held !== null;
  }

  /** Hold what is shown, for as long as it takes; what comes meanwhile is counted. */
  pause() {
    // What is seen is held, not what has come since it was drawn; and at once.
    const rows = this.page.view === "events" ? this.seen : this.rows;
    this.held = this.paused ? null : {rows, events: this.page.model.events};
    this.page.draw();
  }

  get view() {
    return this.page.model.views.get(this.page.filter) ?? {rows: [], matched: 0, shown: 0};
  }

  get rows() {
    return this.view.rows;
  }

  render() {
    const {page} = this;
    const rows = this.held?.rows ?? this.rows;
    this.seen = rows;
    return html`<section class="panel fill"><header class="bar">
        <form class="filter" role="search" @submit=${(event) => this.submit(event)}>
          <label for="filter">Filter</label>
          <input id="filter" name="filter" type="search" autocomplete="off" spellcheck="false" maxlength="512" .value=${page.filter}
            placeholder="call=openat status=blocked pid=1 uid=0 comm=bash, or any part of an argument" aria-describedby="filter-said">
          <button>Show</button>
        </form>
        <button class="hold ${this.paused ? "on" : ""}" aria-pressed=${this.paused ? "true" : "false"} @click=${() => this.pause()}>${this.paused ? "Go on" : "Pause"}</button>
      </header>
      <p class="hints">${EXAMPLES.map((one) => html`<button class="chip" @click=${() => page.filterBy(one)}>${one}</button>`)}
        ${page.filter ? html`<button class="chip" @click=${() => page.filterBy("")}>Everything</button>` : nothing}</p>
      <p class="said" id="filter-said" role="status">${this.said()}</p>
      ${calls(page, rows, {label: "Newest calls", empty: page.filterProblem ? "The filter is not understood." : "No call that matches yet."})}
    </section>`;
  }

  /** What is not among the rows, in numbers. */
  said() {
    const {model, filterProblem} = this.page;
    if (filterProblem) return html`<strong class="bad">${filterProblem.message}</strong> ${filterProblem.hint ?? ""}`;
    if (this.paused) return html`<strong>Held.</strong> ${whole(model.events - this.held.events)} calls since; they go on being counted and kept.`;
    return `${whole(model.events)} calls since this page was opened; ${whole(this.view.shown)} of those that match came one by one, the newest ${this.rows.length} are here. History has the rest.`;
  }

  submit(event) {
    event.preventDefault();
    this.page.filterBy(new FormData(event.target).get("filter").trim());
  }
}
