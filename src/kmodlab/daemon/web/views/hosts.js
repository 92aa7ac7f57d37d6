// The hosts of a fleet: what is known of each, what is wrong on top; one of them alone, or all as one.

import {html, nothing, repeat} from "../vendor/lit.js";
import {alone, get, link, rows} from "../api.js";
import {plain, span, whole} from "../format.js";
import {LOST, word} from "./health.js";

const EVERY = 3000;
const OLD = 43200;
/** Seconds ago from which on a time has its date. */
const TONES = {silent: "bad", open: "bad", behind: "warn", lost: "warn", fine: "good"};
const NAMED = 5;
const EXPIRED = ["expired_age", "expired_size"];

export class Hosts {
  title = "Hosts";

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
      this.hosts = rows(await get("hosts", {host: null}));
      this.problem = null;
    } catch (error) {
      this.problem = error;
    }
  }

  render() {
    const {machine} = this.page.model;
    if (!machine) return html`<p class="empty">Waiting for the machine.</p>`;
    if (!machine.fleet) return html`<p class="note" role="status">This page shows one host alone. The page of a fleet, <code>kmodlabd hub</code>, lists all hosts of it.</p>`;
    this.refresh();
    const {hosts, problem} = this;
    return html`${problem ? html`<p class="problem" role="alert"><strong>${plain(problem.message)}</strong> ${plain(problem.hint ?? "")}</p>` : nothing}
      ${hosts ? html`${this.verdict(hosts)}${this.list(hosts)}` : problem ? nothing : html`<p class="empty">Looking\u2026</p>`}`;
  }

  /** How many are as they should be, and in words which are not. */
  verdict(hosts) {
    const wrong = hosts.filter((one) => one.troubles.length);
    const sentences = wrong.slice(0, NAMED).map((one) => html` <bdi>${plain(one.name)}</bdi>: ${plain(one.troubles.join("; "))}.`);
    const few = hosts.length === 1 ? "The host" : `All ${whole(hosts.length)} hosts`;
    return html`<p class="verdict ${wrong.length ? "bad" : "good"}" role="status"><strong>${wrong.length ? `Something is wrong with ${whole(wrong.length)} of ${whole(hosts.length)} ${hosts.length === 1 ? "host" : "hosts"}.` : `${few} ${hosts.length === 1 ? "writes, and its" : "write, and their"} books close.`}</strong>
      ${sentences}${wrong.length > NAMED ? ` ${whole(wrong.length - NAMED)} more are below.` : nothing}</p>`;
  }

  list(hosts) {
    return html`<section class="panel"><header><h2>Hosts</h2><span class="dim wide">a host's name shows it alone, in all views</span>
        ${alone === null ? html`<span class="dim">all are shown as one</span>` : html`<a href=${link(null)}>Show all as one</a>`}</header>
      <div class="scroll" role="region" tabindex="0" aria-label="Hosts"><table class="hosts" @keydown=${move}>
        <thead><tr><th scope="col">Host</th><th scope="col">State</th><th scope="col" class="number">Wrote last</th><th scope="col" class="number">Behind</th>
          <th scope="col" class="number">Calls/s</th><th scope="col" class="number">Last day</th><th scope="col" class="number">Blocked</th><th scope="col">Lost, by place</th>
          <th scope="col" class="number">Boots</th><th scope="col" class="number">Loads</th><th scope="col">Kernel</th><th scope="col">Module</th></tr></thead>
        <tbody>${repeat(hosts, (one) => one.name, (one) => this.line(one))}</tbody></table></div>
      <p class="padded dim">Calls a second are of the last minute; blocked ones of the last day. What was lost was so since the host is in this fleet.</p></section>`;
  }

  line(one) {
    const shown = one.name === alone;
    return html`<tr class="host-${one.level}" aria-current=${shown ? "true" : nothing} @click=${(event) => event.target.closest("a") || event.currentTarget.querySelector("a").click()}>
      <th scope="row"><a href=${link(one.name)}><bdi>${plain(one.name)}</bdi></a>${shown ? html` <span class="dim">shown</span>` : nothing}</th>
      <td><span class="state ${TONES[one.level] ?? ""}">${this.state(one)}</span></td>
      <td class="number">${this.when(one)}</td><td class="number ${one.behind ? "" : "faint"}">${one.behind ? span(one.behind) : "0 s"}</td>
      <td class="number">${rate(one.rate)}</td>
      <td class="number">${whole(one.day)}</td><td class="number ${one.blocked ? "bad" : "faint"}">${whole(one.blocked)}</td><td class="losses">${losses(one)}</td>
      <td class="number">${whole(one.boots)}</td><td class="number">${whole(one.epochs)}</td><td><bdi>${plain(one.kernel || "\u2013")}</bdi></td><td><bdi>${plain(one.version || "\u2013")}</bdi></td></tr>`;
  }

  state(one) {
    if (one.level === "silent") return `silent for ${span(one.ago)}`;
    if (one.level === "open") return `${whole(one.open)} sums are open`;
    if (one.level === "behind") return `${span(one.behind)} behind`;
    return one.level === "lost" ? "has lost calls" : "as it should be";
  }

  when({seen, ago}) {
    const {clock} = this.page;
    return html`<time>${ago < OLD ? clock.time(seen) : clock.full(seen)}</time>`;
  }
}

function rate(n) {
  if (n === null) return "\u2013";
  return n && n < 10 ? n.toFixed(n < 1 ? 2 : 1) : whole(n);
}

/** What has no record, and why; what only went by its age, or for room, is no loss. */
function losses(one) {
  const found = Object.entries(one.losses).filter(([term]) => !EXPIRED.includes(term));
  const removed = Object.values(one.unshipped).reduce((sum, n) => sum + n, 0);
  if (!found.length && !removed) return html`<span class="faint">nothing</span>`;
  const told = found.map(([term, n], index) => html`${index ? ", " : ""}<span class=${LOST.includes(term) ? "warn" : ""}>${whole(n)} ${word(term)}</span>`);
  return html`${told}${removed ? html`${told.length ? ", " : ""}<span class="warn">${whole(removed)} removed before they were copied</span>` : nothing}`;
}

/** Up and down go from host to host, Home and End to the first and the last. */
function move(event) {
  const row = event.target.closest("tbody tr");
  if (!row) return;
  const places = {ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: row.parentElement.firstElementChild, End: row.parentElement.lastElementChild};
  if (!(event.key in places)) return;
  event.preventDefault();
  places[event.key]?.querySelector("a").focus();
}
