// The page: who looks, which view, which keys; the views do the rest.

import {html, nothing, render} from "./vendor/lit.js";
import {alone, exchange, get, link, post, remove, rows, session} from "./api.js";
import {Palette} from "./chart.js";
import {Clock, plain, span, whole} from "./format.js";
import {Model, WINDOW, copied} from "./model.js";
import {Stream} from "./stream.js";
import {details} from "./table.js";
import {Blocked} from "./views/blocked.js";
import {Events} from "./views/events.js";
import {Filters} from "./views/filters.js";
import {Health, LOST} from "./views/health.js";
import {History} from "./views/history.js";
import {Hosts} from "./views/hosts.js";
import {Live} from "./views/live.js";
import {Tasks} from "./views/tasks.js";
import {Top} from "./views/top.js";

const KINDS = {live: Live, events: Events, top: Top, blocked: Blocked, history: History, filters: Filters, health: Health, tasks: Tasks, hosts: Hosts};
const ZONES = [["utc", "UTC"], ["server", "server time"], ["browser", "browser time"]];
const THEMES = [["auto", "as the system"], ["dark", "dark"], ["light", "light"]];
const LINKS = {open: ["good", "live"], connecting: ["dim", "connecting"], reconnecting: ["warn", "reconnecting"], ended: ["bad", "session ended"]};
const KEYS = [["/", "the filter of the events"], ["p", "pause, and go on"], ["t", "charts as tables, and back"], ["\u2191 \u2193", "from row to row"], ["\u2190 \u2192", "in a tree: close, open"], ["Enter", "all of a call, or of a task"], ["?", "these keys"]];
const FRAME = 240;
const LOOK = 5000;
const SILENT = 5;
/** Views that say themselves what is wrong. */
const OWN = ["health", "hosts"];
const BEFORE = 900;
const BEFORE_ROWS = 100;
const ENDS = {
  "no module": "The module is not loaded: nothing is recorded.", "no recorder": "The recorder does not run: nothing is recorded.",
  ended: "The recording has ended.", stopped: "Nothing is recorded.", recording: "",
};

function kept(name, fallback) {
  return localStorage.getItem(`kmodlab-${name}`) ?? fallback;
}

class Page {
  constructor(root) {
    this.root = root;
    this.model = new Model();
    this.palette = new Palette();
    this.link = "connecting";
    this.session = null;
    this.filter = "";
    this.tables = kept("tables", "") === "yes";
    this.keys = kept("keys", "yes") === "yes";
    this.view = "live";
    this.views = Object.fromEntries(Object.entries(KINDS).map(([name, View]) => [name, new View(this)]));
    this.zone(kept("zone", "browser"));
    this.theme(kept("theme", "auto"));
  }

  /** The views that there are: a list of hosts, where there are several. */
  get names() {
    return Object.keys(KINDS).filter((name) => name !== "hosts" || this.model.machine?.fleet);
  }

  get admin() {
    return this.session?.role === "admin";
  }

  // -- who looks ---------------------------------------------------------------------------------------------------

  async start() {
    const token = /^#token=(.+)$/.exec(location.hash)?.[1];
    // The token leaves the address before anything else: nobody is to read it there, or keep it as a bookmark.
    if (token) history.replaceState(null, "", `${location.pathname}${location.search}#live`);
    try {
      this.session = token ? await exchange(token) : await session();
    } catch (error) {
      this.problem = error;
    }
    this.listen();
    this.route();
    if (this.session) this.enter();
    this.changed();
  }

  async enter() {
    this.zone(this.clock.zone);
    // A host that is not there has no stream: it would be asked for again and again.
    if (alone !== null && !(await this.isThere())) return;
    this.stream = new Stream((kind, what) => this.heard(kind, what));
    this.stream.want(this.filter);
  }

  async isThere() {
    try {
      this.model.machine = await get("machine");
    } catch (error) {
      if (error.status === 404) this.nobody = error;
      this.changed();
    }
    return !this.nobody;
  }

  async login(event) {
    event.preventDefault();
    const given = new FormData(event.target).get("token").trim();
    try {
      this.session = await post("session", {token: given.replace(/^.*#token=/, "")});
      this.problem = null;
      this.link = "connecting";
      if (this.stream) location.reload();
      else this.enter();
    } catch (error) {
      this.problem = error;
    }
    this.changed();
  }

  async logout() {
    await remove("session").catch(() => null);
    location.reload();
  }

  // -- what comes --------------------------------------------------------------------------------------------------

  heard(kind, what) {
    if (kind === "link") {
      this.link = what;
      if (what === "ended") this.session = null;
    } else if (kind === "state") {
      this.model.begin(what);
      this.prime();
    } else {
      if (!this.model.latest) this.prime();
      this.link = "open";
      const before = this.model.latest?.epoch;
      this.model.apply(what);
      if (before !== undefined && before !== what.epoch) this.look();
    }
    this.changed();
  }

  /** Fill the chart with what was before this page. */
  async prime() {
    const end = this.model.now;
    const rates = await get("rates", {begin: end - WINDOW, end, step: 1, by: "call"}).catch(() => null);
    if (rates) this.model.prime(rates);
    this.changed();
  }

  async look() {
    this.model.machine = await get("machine").catch(() => this.model.machine);
    this.changed();
  }

  /** Seconds for which a stream that is open has said nothing: it has something to say each second. */
  get silence() {
    return this.link === "open" && this.model.latest ? (performance.now() - this.model.arrived) / 1000 : 0;
  }

  lost() {
    const ledger = this.model.latest?.ledger ?? {};
    return LOST.reduce((sum, term) => sum + (ledger[term] ?? 0), 0);
  }

  // -- what is chosen ----------------------------------------------------------------------------------------------

  zone(zone) {
    localStorage.setItem("kmodlab-zone", zone);
    this.clock = new Clock(zone, this.session?.utc_offset ?? 0);
    this.changed();
  }

  theme(theme) {
    localStorage.setItem("kmodlab-theme", theme);
    this.chosen = theme;
    document.documentElement.dataset.theme = theme;
    this.repaint();
  }

  repaint() {
    for (const view of Object.values(this.views)) view.repaint?.();
    this.changed();
  }

  /** Show only those calls, everywhere that calls are live. */
  async filterBy(filter) {
    this.close();
    location.hash = `events${filter ? `?${new URLSearchParams({filter})}` : ""}`;
  }

  async filtered(filter) {
    this.filter = filter;
    this.filterProblem = null;
    const end = this.model.now;
    try {
      // What has come before somebody asked for it: a rare call would have one wait for the next.
      const found = await get("events", {filter, begin: end - BEFORE, end, limit: BEFORE_ROWS});
      this.model.prefill(filter, rows(found.rows));
    } catch (error) {
      if (error.status === 400) this.filterProblem = error;
    }
    // One that the server refuses would take the stream from every tab.
    if (!this.filterProblem && filter === this.filter) this.stream?.want(filter);
    this.changed();
  }

  route() {
    const [name, query] = location.hash.slice(1).split("?");
    const before = this.view;
    this.view = KINDS[name] ? name : "live";
    const filter = this.view === "events" ? (new URLSearchParams(query).get("filter") ?? "") : this.filter;
    if (filter !== this.filter) this.filtered(filter);
    if (before !== this.view) scrollTo(0, 0);
    document.title = [this.views[this.view].title, ...(alone === null ? [] : [plain(alone)]), "kmodlab"].join(" \u00b7 ");
    this.changed();
  }

  open(row) {
    this.row = row;
    this.show("details");
  }

  show(dialog) {
    this.dialog = dialog;
    this.draw();
    this.root.querySelector("dialog")?.showModal();
  }

  close() {
    this.root.querySelector("dialog")?.close();
  }

  // -- keys --------------------------------------------------------------------------------------------------------

  listen() {
    addEventListener("hashchange", () => this.route());
    addEventListener("keydown", (event) => this.key(event));
    for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(query).addEventListener("change", () => this.repaint());
    setInterval(() => this.changed(), 1000);
    setInterval(() => this.session && !this.nobody && document.visibilityState === "visible" && this.look(), LOOK);
  }

  key(event) {
    const typing = event.target.closest?.("input, select, textarea, dialog");
    if (!this.keys || typing || event.ctrlKey || event.metaKey || event.altKey || !this.session) return;
    const name = this.names[Number(event.key) - 1];
    const actions = {t: () => this.switchTables(), p: () => this.views.events.pause(), "?": () => this.show("keys"), "/": () => this.search()};
    const action = name ? () => { location.hash = name; } : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  search() {
    if (this.view !== "events") history.pushState(null, "", `#events${this.filter ? `?${new URLSearchParams({filter: this.filter})}` : ""}`);
    this.route();
    this.draw();
    this.root.querySelector("#filter")?.select();
  }

  switchTables() {
    this.tables = !this.tables;
    localStorage.setItem("kmodlab-tables", this.tables ? "yes" : "");
    this.changed();
  }

  switchKeys() {
    this.keys = !this.keys;
    localStorage.setItem("kmodlab-keys", this.keys ? "yes" : "no");
    this.changed();
  }

  tableSwitch() {
    return html`<button class="small" aria-pressed=${this.tables ? "true" : "false"} @click=${() => this.switchTables()}>As a table</button>`;
  }

  // -- what is drawn -----------------------------------------------------------------------------------------------

  /** Draw soon: at most five times a second, and not where nobody looks. */
  changed() {
    if (this.soon || document.visibilityState === "hidden") return;
    this.soon = setTimeout(() => this.draw(), Math.max(0, FRAME - (performance.now() - (this.drawn ?? 0))));
  }

  draw() {
    clearTimeout(this.soon);
    this.soon = null;
    this.drawn = performance.now();
    render(this.session ? this.all() : this.door(), this.root);
  }

  all() {
    return html`<a class="skip" href="#main" @click=${(event) => this.skip(event)}>To the content</a>
      ${this.head()}<main id="main" tabindex="-1" class="view-${this.view}">${this.nobody ? this.missing() : html`${this.trouble()}${this.views[this.view].render()}`}</main>${this.foot()}
      <dialog aria-labelledby=${`${this.dialog ?? "details"}-title`} @close=${() => { this.dialog = null; this.changed(); }} @click=${(event) => event.target.localName === "dialog" && this.close()}>
        ${this.dialog === "details" ? details(this, this.row) : this.dialog === "keys" ? this.help() : this.dialog === "task" ? this.views.tasks.details() : nothing}</dialog>`;
  }

  missing() {
    return html`<p class="problem" role="alert"><strong>${this.nobody.message}</strong> It is called <bdi>${plain(alone)}</bdi> in this address.</p>
      <p><a href=${link(null, "hosts")}>All hosts</a></p>`;
  }

  skip(event) {
    event.preventDefault();
    this.root.querySelector("main").focus();
  }

  head() {
    const {machine, blocked} = this.model;
    const [tone, words] = this.silence > SILENT ? ["warn", `silent for ${span(this.silence)}`] : LINKS[this.link];
    const held = this.views.events.paused;
    return html`<header class="top">
      <div class="brand"><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M3 18h7l3-9 5 15 3-9 2 3h6"/></svg><h1>kmodlab</h1>
        ${machine ? html`<span class="host"><bdi>${plain(machine.host)}</bdi></span><span class="dim kernel">${plain(machine.kernel)}</span>
          ${alone !== null && machine.fleet ? html`<a class="all" href=${link(null, this.view)}>All hosts</a>` : nothing}
          ${machine.mode ? html`<a class="mode mode-${plain(machine.mode)}" href="#filters">${plain(machine.mode)}</a>` : nothing}` : nothing}</div>
      <div class="settings"><span class="link ${tone}" role="status"><i></i>${words}</span>
        ${this.choice("zone", "Times", ZONES, this.clock.zone)}${this.choice("theme", "Colours", THEMES, this.chosen)}
        <button class="small keys" @click=${() => this.show("keys")}>Keys</button><button class="small" @click=${() => this.logout()}>Sign out</button></div>
      <nav aria-label="Views">${this.names.map((name) => [name, this.views[name]]).map(([name, view], index) => html`<a href="#${name}${name === "events" && this.filter ? `?${new URLSearchParams({filter: this.filter})}` : ""}" aria-current=${name === this.view ? "page" : nothing}>${view.title}${name === "blocked" && blocked.length ? html`<b class="count">${whole(blocked.length + this.model.blockedMore)}</b>` : nothing}${name === "events" && held ? html`<b class="count hold">held</b>` : nothing}<kbd aria-hidden="true">${index + 1}</kbd></a>`)}</nav>
    </header>`;
  }

  choice(name, label, options, chosen) {
    return html`<label class="choice ${name}"><span class="hidden">${label}</span><select @change=${(event) => this[name](event.target.value)}>${options.map(([value, words]) => html`<option value=${value} ?selected=${value === chosen}>${words}</option>`)}</select></label>`;
  }

  trouble() {
    const state = this.model.machine?.state ?? "recording";
    const ended = ENDS[state] ?? (copied(this.model.machine) ? "" : `Nothing is recorded: ${state}.`);
    const found = OWN.includes(this.view) ? [] : this.model.troubles;
    return html`${ended ? html`<p class="note" role="status">${plain(ended)}</p>` : nothing}${found.map((one) => html`<p class="problem" role="alert">${plain(one)}</p>`)}`;
  }

  /** The sums, always in sight. */
  foot() {
    const {sums, latest} = this.model;
    const ledger = latest?.ledger ?? {};
    const shed = Object.entries(ledger).filter(([term]) => term.startsWith("shed_")).reduce((sum, [, number]) => sum + number, 0);
    if (!sums.known) return html`<footer><span>waiting for the ledger</span></footer>`;
    const open = sums.open.length ? `${sums.open.length} sums are open` : `this page misses ${whole(sums.missing)}`;
    return html`<footer class=${sums.closes ? "" : "open"}><a href="#health">${sums.closes ? html`<b class="good">\u2713</b> the books close` : html`<b class="bad">the books do not close: ${open}</b>`}</a>
      <span>received ${whole(ledger.received ?? 0)} = stored ${whole(ledger.stored ?? 0)} + on the way ${whole(ledger.pending ?? 0)} + let go ${whole(shed)}</span>
      <span>in the sums ${whole(sums.rolled)} = ${whole(sums.base)} before + ${whole(sums.events)} on this page</span>
      <time class="now">${this.clock.full(this.model.now)} ${this.clock.label}</time></footer>`;
  }

  help() {
    return html`<h2 id="keys-title">Keys</h2><dl class="facts">${[[`1 \u2013 ${this.names.length}`, "the views"], ...KEYS].map(([key, words]) => html`<dt><kbd>${key}</kbd></dt><dd>${words}</dd>`)}</dl>
      <p><label><input type="checkbox" .checked=${this.keys} @change=${() => this.switchKeys()}> Keys of one letter work</label></p>
      <p class="actions"><button class="main" @click=${() => this.close()}>Close</button></p>`;
  }

  door() {
    return html`<main class="alone"><h1>kmodlab</h1><p>This page shows what a machine does, so it takes a session. <code>kmodlab dashboard</code> prints an address that opens one, once; paste it here, or open it.</p>
      ${this.problem ? html`<p class="problem" role="alert"><strong>${this.problem.message}</strong> ${this.problem.hint ?? ""}</p>` : nothing}
      <form class="bar" @submit=${(event) => this.login(event)}><label for="token">Address or token</label><input id="token" name="token" type="password" required autocomplete="off"><button class="main">Open</button></form></main>`;
  }
}

const page = new Page(document.querySelector("#page"));
page.root.replaceChildren();
page.start();
