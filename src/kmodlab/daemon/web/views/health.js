// Whether what is shown is all there is: the ledger, sum by sum, and what the parts are.

import {html, nothing} from "../vendor/lit.js";
import {get} from "../api.js";
import {plain, span, whole} from "../format.js";

const EVERY = 2000;
const WORDS = {
  issued: "calls numbered", logged: "in the log", overwritten: "overwritten in the log", dropped: "dropped by the kernel", begun: "before recording began",
  next: "numbers seen", received: "received", missing: "missing", not_yet_sent: "not sent yet", lost_ring: "overwritten before sending", away: "while nobody recorded",
  lost_dropped: "dropped by the kernel", lost_socket: "lost in the socket", stored: "stored", rolled: "in the sums", own: "the daemon's own", unread: "damaged before they were read",
  waiting: "waiting for the sums", kept: "kept one by one", expired_age: "expired by age", expired_size: "removed for room", damaged: "set aside as damaged",
  pending: "on the way to the disk", blocked_begun: "before recording began", blocked_next: "blocked calls numbered", blocked_came: "came apart", blocked_missing: "did not come apart", blocked_let_go: "let go",
  shed_full: "let go: disk full", shed_readonly: "let go: disk takes no writing", shed_gone: "let go: folder removed", shed_failed: "let go: disk error", shed_slow: "let go: disk too slow", shed_behind: "let go: the sums are too far behind",
  shipped: "copied", not_copied_yet: "not copied yet",
};
const NAMES = {kernel: "Kernel's log", delivery: "Delivery", gaps: "Gaps", journal: "Journal", "roll-up": "Sums", history: "History", blocked: "Blocked apart", "copied to the fleet": "Copied to the fleet"};
const LOSSES = ["overwritten", "lost_ring", "lost_dropped", "lost_socket", "away", "unread", "damaged", "shed_full", "shed_readonly", "shed_gone", "shed_failed", "shed_slow", "shed_behind", "expired_age", "expired_size"];
/** What is gone for good, against its will. */
export const LOST = ["lost_ring", "lost_dropped", "lost_socket", "unread", "damaged", "shed_full", "shed_readonly", "shed_gone", "shed_failed", "shed_slow", "shed_behind"];

export function word(term) {
  return WORDS[term] ?? term;
}

export class Health {
  title = "Health";

  constructor(page) {
    this.page = page;
    this.asked = -Infinity;
  }

  refresh() {
    if (this.asking || performance.now() - this.asked < EVERY) return;
    this.asked = performance.now();
    this.asking = this.ask().finally(() => { this.asking = null; this.page.changed(); });
  }

  async ask() {
    try {
      this.books = await get("ledger");
      this.page.model.machine = await get("machine");
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
  }

  render() {
    this.refresh();
    const {books} = this;
    if (!books) return html`<p class="empty">${this.problem?.message ?? "Looking\u2026"}</p>`;
    return html`${this.verdict(books)}
      <div class="columns uneven"><section class="panel"><header><h2>The ledger, by CPU</h2><span class="dim">each line has to be equal on both sides</span></header>${this.ledger(books)}</section>
      <div class="stack">${this.losses(books)}${this.streams(books)}${this.machine()}</div></div>`;
  }

  verdict(books) {
    const open = books.equations.filter((one) => !one.closes);
    const {sums} = this.page.model;
    const closes = !open.length && sums.closes;
    return html`<p class="verdict ${closes ? "good" : "bad"}" role="status"><strong>${closes ? "The books close." : "The books do not close."}</strong>
      ${closes ? "Every call that a CPU has numbered is accounted for, from the kernel to this page." : [...open.map((one) => `${one.scope}, ${NAMES[one.name] ?? one.name}: ${whole(one.difference)} are nowhere. `), sums.missing ? `This page misses ${whole(sums.missing)}. ` : "", ...(open.length ? [] : sums.open)]}</p>
      ${[...new Set([...books.troubles, ...this.page.model.troubles])].map((one) => html`<p class="problem" role="alert">${plain(one)}</p>`)}`;
  }

  ledger(books) {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Ledger"><table class="ledger">
      <thead><tr><th scope="col">Where</th><th scope="col">Sum</th><th scope="col" class="number">Calls</th><th scope="col">are</th><th scope="col">Closes</th></tr></thead>
      <tbody>${books.equations.map((one) => html`<tr class=${one.closes ? "" : "open"}><th scope="row">${one.scope}</th><td>${NAMES[one.name] ?? one.name}</td>
        <td class="number" title=${word(one.left)}>${whole(one.number)}</td><td class="terms">${this.terms(one)}</td>
        <td>${one.closes ? html`<span class="good">yes</span>` : html`<strong class="bad">no: ${whole(one.difference)}</strong>`}</td></tr>`)}
        ${this.own()}</tbody></table></div>`;
  }

  terms(one) {
    const some = Object.entries(one.right).filter(([, number]) => number);
    const shown = some.length ? some : [Object.entries(one.right)[0]];
    return shown.map(([term, number], index) => html`${index ? " + " : ""}<span class=${number && LOST.includes(term) ? "warn" : ""}>${whole(number)} ${word(term)}</span>`);
  }

  /** The last sum is this page's own. */
  own() {
    const {sums} = this.page.model;
    return html`<tr class=${sums.missing ? "open" : ""}><th scope="row">this page</th><td>Stream</td><td class="number" title=${word("rolled")}>${whole(sums.rolled)}</td>
      <td class="terms">${whole(sums.base)} before it was opened + ${whole(sums.events)} came</td><td>${sums.known && !sums.missing ? html`<span class="good">yes</span>` : html`<strong class="bad">no: ${whole(sums.missing)}</strong>`}</td></tr>`;
  }

  losses({totals}) {
    const found = LOSSES.filter((term) => totals[term]);
    return html`<section class="panel"><header><h2>Not kept, by place and cause</h2></header>
      ${found.length ? html`<dl class="facts padded">${found.map((term) => html`<dt>${word(term)}</dt><dd class="number ${LOST.includes(term) ? "warn" : ""}">${whole(totals[term])}</dd>`)}</dl>
        <p class="padded dim">Overwritten in the log is no loss for who listens: those were sent before.</p>` : html`<p class="empty">Nothing was lost.</p>`}</section>`;
  }

  streams({server}) {
    const last = this.page.model.latest?.sums;
    return html`<section class="panel"><header><h2>Streams</h2></header><dl class="facts padded">
      <dt>Open, all browsers</dt><dd class="number">${whole(server.clients)}</dd>
      <dt>Frames offered to them</dt><dd class="number">${whole(server.offered)}</dd>
      <dt>sent</dt><dd class="number">${whole(server.sent)}</dd>
      <dt>merged for slow ones</dt><dd class="number">${whole(server.coalesced)}</dd>
      ${last ? html`<dt>Of these to this browser</dt><dd class="number">${whole(last.sent)} sent, ${whole(last.coalesced)} merged</dd>` : nothing}</dl></section>`;
  }

  machine() {
    const {machine, latest, epochs} = this.page.model;
    if (!machine) return nothing;
    const {clock, session} = this.page;
    const facts = [
      ["Host", machine.host], ["Kernel", machine.kernel], ["Module", machine.version], ["Hook", machine.hook], ["Mode", machine.mode], ["State", machine.state],
      ["Server", session.version], ["Boot", machine.boot], ["Boot and load, number", `${machine.epoch}${epochs ? `, began anew ${epochs} times since this page was opened` : ""}`],
      ["Recorded since", machine.recorded_since ? clock.full(machine.recorded_since) : "not yet"], ["One by one since", machine.raw_since ? clock.full(machine.raw_since) : "not yet"],
      ["Left out", `${whole(this.books.totals.excluded)} calls of the recorder itself`], ["Clock was set by", machine.clock_set ? span(Math.abs(machine.clock_set)) : "0 s"], ["Behind", span(latest?.behind ?? 0)], ["You are", `${session.who}, ${session.role}`],
    ];
    return html`<section class="panel"><header><h2>What this is</h2></header><dl class="facts padded">${facts.map(([name, value]) => html`<dt>${name}</dt><dd><bdi>${plain(value)}</bdi></dd>`)}</dl>
      <p class="padded dim">Watching has its price: with a listener a call takes some 0.6 \u00b5s longer than with the tracer alone.</p></section>`;
  }
}
