// The page of a class that is graded: its slots with their consoles, its results, how far it is.

import {guard, html, nothing, render, repeat} from "../web/vendor/lit.js";
import {exchange, post, remove, session} from "../web/api.js";
import {Clock, plain, span, whole} from "../web/format.js";
import {Model} from "./model.js";

const THEMES = [["auto", "as the system"], ["dark", "dark"], ["light", "light"]];
const LINKS = {open: ["good", "live"], connecting: ["dim", "connecting"], reconnecting: ["warn", "no answer"], full: ["warn", "open in too many tabs"], over: ["dim", "not live any more"]};
const STEPS = [["build", "build"], ["slot", "boot"], ["load", "load"], ["tests", "tests"], ["unload", "unload"]];
const DOING = {free: "Nothing to do.", starts: "It starts.", elsewhere: "Another host examines it, and tells what it came to.", build: "The module is built.", slot: "A machine starts.", load: "The module is loaded.", tests: "The tests start.", unload: "The module is unloaded."};
const STATES = {preparing: "preparing", grading: "grading", finished: "finished", "broken off": "broken off"};
const COLUMNS = [["number", "No.", "number"], ["student", "Student", ""], ["verdict", "Verdict", ""], ["points", "Points", "number"], ["seconds", "Took", "number"]];
const FAILED = ["fail", "build-error", "load-error", "oops", "panic", "hang", "leak"];
const FRAME = 240;
const RETRY = 2000;
const SILENT = 12;
const NEAR = 0.8;

class Page {
  constructor(root) {
    this.root = root;
    this.model = new Model();
    this.clock = new Clock("browser", 0);
    this.link = "connecting";
    this.session = null;
    this.by = "number";
    this.down = true;
    this.theme(localStorage.getItem("kmodlab-theme") ?? "auto");
  }

  // -- who looks ---------------------------------------------------------------------------------------------------

  async start() {
    const token = /^#token=(.+)$/.exec(location.hash)?.[1];
    // The token leaves the address before anything else: nobody is to read it there, or keep it as a bookmark.
    if (token) history.replaceState(null, "", location.pathname);
    // The whole address, given to a tab that is here already: for a browser that is only another place on the page.
    addEventListener("hashchange", () => location.hash.startsWith("#token=") && location.reload());
    try {
      this.session = token ? await exchange(token) : await session();
    } catch (error) {
      this.problem = error;
    }
    setInterval(() => this.changed(), 1000);
    document.addEventListener("visibilitychange", () => this.changed());
    this.known = true;
    if (this.session) this.open();
    this.changed();
  }

  async login(event) {
    event.preventDefault();
    const given = new FormData(event.target).get("token").trim();
    try {
      this.session = await post("session", {token: given.replace(/^.*#token=/, "")});
      this.problem = null;
      this.open();
    } catch (error) {
      this.problem = error;
    }
    this.changed();
  }

  async logout() {
    this.source?.close();
    await remove("session").catch(() => null);
    location.reload();
  }

  // -- what comes --------------------------------------------------------------------------------------------------

  open() {
    const source = new EventSource("api/v1/stream");
    this.source = source;
    for (const kind of ["state", "tick"]) source.addEventListener(kind, (event) => this.heard(kind, JSON.parse(event.data)));
    source.addEventListener("closed", () => { source.close(); this.ended(); });
    source.onerror = () => { source.close(); this.ended(); };
  }

  heard(kind, frame) {
    this.link = "open";
    this.model.take(kind, frame);
    this.changed();
  }

  /** Look why. What is over is over; all else is tried again, for as long as somebody looks. */
  async ended() {
    if (this.model.over) this.link = "over";
    else {
      const found = await session().catch(() => undefined);
      if (found === null) this.session = null;
      else {
        this.link = found ? "full" : "reconnecting";
        setTimeout(() => this.session && this.open(), RETRY);
      }
    }
    this.changed();
  }

  // -- what is chosen ----------------------------------------------------------------------------------------------

  theme(theme) {
    localStorage.setItem("kmodlab-theme", theme);
    this.chosen = theme;
    document.documentElement.dataset.theme = theme;
    this.changed();
  }

  sort(by, down = by === this.by ? !this.down : by === "number") {
    this.by = by;
    this.down = down;
    this.draw();
  }

  // -- what is drawn -----------------------------------------------------------------------------------------------

  /** Draw soon: at most four times a second, not before it is known who looks, and not where nobody does. */
  changed() {
    if (!this.known || this.soon || document.visibilityState === "hidden") return;
    this.soon = setTimeout(() => this.draw(), Math.max(0, FRAME - (performance.now() - (this.drawn ?? 0))));
  }

  draw() {
    clearTimeout(this.soon);
    this.soon = null;
    this.drawn = performance.now();
    // A console that was looked at where it ends goes on there; one that was scrolled up stays.
    const held = new Set([...this.root.querySelectorAll(".console")].filter((one) => one.scrollHeight - one.scrollTop - one.clientHeight > 8).map((one) => one.id));
    render(this.session ? this.all() : this.door(), this.root);
    for (const one of this.root.querySelectorAll(".console")) if (!held.has(one.id)) one.scrollTop = one.scrollHeight;
    const {head} = this.model;
    document.title = head ? `${head.graded} of ${head.total} \u00b7 ${plain(head.lab)} \u00b7 kmodlab` : "Grading \u00b7 kmodlab";
  }

  all() {
    const {head} = this.model;
    return html`<a class="skip" href="#main" @click=${(event) => this.skip(event)}>To the content</a>${this.top()}
      <main id="main" tabindex="-1">${head ? html`${this.said()}${this.tiles()}${this.slots()}${this.results()}` : html`<p class="empty" role="status">Waiting for the grader.</p>`}</main>`;
  }

  skip(event) {
    event.preventDefault();
    this.root.querySelector("main").focus();
  }

  top() {
    const {head} = this.model;
    const silence = this.link === "open" && head ? this.model.since(this.model.arrived) : 0;
    const [tone, words] = silence > SILENT ? ["warn", `silent for ${span(silence)}`] : LINKS[this.link];
    return html`<header class="top board"><div class="brand"><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M3 18h7l3-9 5 15 3-9 2 3h6"/></svg><h1>kmodlab</h1>
        ${head ? html`<span class="host"><bdi>${plain(head.lab)}</bdi></span><span class="dim kernel"><bdi>${plain(head.title)}</bdi></span><span class="mode">${STATES[head.state]}</span>` : nothing}</div>
      <div class="settings"><span class="link ${tone}" role="status"><i></i>${words}</span>
        <label class="choice"><span class="hidden">Colours</span><select @change=${(event) => this.theme(event.target.value)}>${THEMES.map(([value, name]) => html`<option value=${value} ?selected=${value === this.chosen}>${name}</option>`)}</select></label>
        <button class="small" @click=${() => this.logout()}>Sign out</button></div></header>`;
  }

  /** What there is to say of the whole. */
  said() {
    const {head} = this.model;
    if (head.state === "preparing") return html`<p class="note" role="status">The machines are prepared.</p>`;
    if (!this.model.over) return nothing;
    const tone = head.state === "finished" ? "note" : "problem";
    const words = head.state === "finished" ? "The grading has finished." : "The grading was broken off.";
    return html`<p class=${tone} role="status"><strong>${words}</strong> <bdi class="wrap">${plain(head.note)}</bdi> This page keeps what it had.</p>`;
  }

  tiles() {
    const {model} = this;
    const {head} = model;
    const [passed, failed, broken] = [model.count("pass"), model.count(...FAILED), model.count("infra-error")];
    return html`<dl class="tiles">${tile("Graded", html`${whole(head.graded)}<small> of ${whole(head.total)}</small>`)}
        ${tile("Passed", whole(passed), passed ? "good" : "")}${tile("Did not pass", whole(failed), failed ? "bad" : "")}${tile("Not graded", whole(broken), broken ? "warn" : "")}
        ${tile("Running", whole(head.running))}${tile("Waiting", whole(head.waiting))}${model.over ? tile("Took", span(head.elapsed)) : tile(html`Left${this.end()}`, this.left())}</dl>
      <progress max=${Math.max(1, head.total)} .value=${head.graded} aria-label="Graded"></progress>`;
  }

  left() {
    const {left} = this.model;
    return left === null ? "\u2013" : left < 1 ? "< 1 s" : span(left);
  }

  end() {
    const {left} = this.model;
    return left === null ? nothing : html`, until ${this.clock.time(Date.now() / 1000 + left).slice(0, 5)}`;
  }

  slots() {
    return html`<section aria-labelledby="slots-title"><h2 id="slots-title" class="hidden">Slots</h2>
      <div class="slots">${repeat([...this.model.slots.values()], (slot) => slot.slot, (slot) => this.card(slot))}</div></section>`;
  }

  card(slot) {
    const busy = !["free", "done"].includes(slot.phase);
    const seconds = (slot.seconds ?? 0) + (busy ? this.model.since(slot.arrived) : 0);
    const at = STEPS.findIndex(([name]) => name === slot.phase);
    const near = slot.limit && seconds > NEAR * slot.limit;
    const time = !busy ? (slot.phase === "done" ? span(slot.all) : "") : slot.limit ? `${Math.floor(seconds)} s of ${whole(slot.limit)} s` : `${Math.floor(seconds)} s`;
    return html`<article class="panel card card-${slot.phase}" aria-labelledby="slot-${slot.slot}">
      <header><h3 id="slot-${slot.slot}"><span class="dim">Slot ${slot.slot}</span> <bdi title=${plain(slot.submission ?? "")}>${plain(slot.student)}</bdi></h3><span class="time ${near ? "warn" : "dim"}">${time}</span></header>
      <ol class="steps" aria-label="Steps">${STEPS.map(([name, words], index) => html`<li class=${index < at ? "past" : nothing} aria-current=${slot.phase === name ? "step" : nothing}>${words}</li>`)}</ol>
      <p class="doing">${this.doing(slot)}</p>
      <pre class="console ${slot.printed ? "" : "none"}" id="console-${slot.slot}" tabindex="0" role="region" aria-label="Console of slot ${slot.slot}">${slot.printed || (busy ? "Nothing was printed yet." : "")}</pre>
      <p class="printed dim">${slot.console.size ? `${whole(slot.console.size)} bytes were printed` : ""}</p></article>`;
  }

  doing(slot) {
    if (slot.verdict) return html`${outcome(slot.verdict)} <span class="number">${points(slot)}</span> <bdi class="wrap dim">${plain(slot.reason)}</bdi>`;
    const done = slot.done ? html` <span class="dim">${slot.passed} of ${slot.done} passed, ${slot.tests} in all</span>` : nothing;
    return slot.test ? html`<span class="wrap" title=${plain(slot.title)}>Test <strong>${plain(slot.test)}</strong></span>${done}` : html`${DOING[slot.phase]}${done}`;
  }

  results() {
    const {model} = this;
    const failed = this.by === "verdict" && !this.down;
    const newest = this.by === "number" && this.down;
    return html`<section class="panel"><header><h2>Results</h2><span class="bar"><button class="chip" aria-pressed=${newest ? "true" : "false"} @click=${() => this.sort("number", true)}>Newest first</button>
        <button class="chip" aria-pressed=${failed ? "true" : "false"} @click=${() => this.sort("verdict", false)}>Failed first</button></span></header>
      ${model.results.length ? guard([model.results, this.by, this.down], () => this.table()) : html`<p class="empty">No result yet.</p>`}</section>`;
  }

  table() {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Results"><table class="results"><thead><tr>${COLUMNS.map(([by, title, names]) => html`<th scope="col" class=${names} aria-sort=${by === this.by ? (this.down ? "descending" : "ascending") : nothing}>
        <button class="plain" @click=${() => this.sort(by)}>${title}<span aria-hidden="true">${by === this.by ? (this.down ? " \u2193" : " \u2191") : ""}</span></button></th>`)}<th scope="col">Reason</th></tr></thead>
      <tbody>${repeat(this.model.sorted(this.by, this.down), (one) => one.number, (one) => html`<tr><td class="number dim">${one.number}</td><th scope="row"><bdi class="wrap">${plain(one.student)}</bdi></th><td>${outcome(one.verdict)}</td>
        <td class="number">${points(one)}</td><td class="number">${one.seconds === null ? html`<span class="dim">${one.known ? "known" : "\u2013"}</span>` : span(one.seconds)}</td><td class="reason"><bdi class="wrap">${one.late ? "Late. " : ""}${plain(one.reason)}</bdi></td></tr>`)}</tbody></table></div>`;
  }

  door() {
    return html`<main class="alone"><h1>kmodlab</h1><p>This page shows what students handed in, so it takes a session of the staff. <code>kmodlab grade --live</code> prints an address that opens one, once; paste it here, or open it.</p>
      ${this.problem ? html`<p class="problem" role="alert"><strong>${this.problem.message}</strong> ${this.problem.hint ?? ""}</p>` : nothing}
      <form class="bar" @submit=${(event) => this.login(event)}><label for="token">Address or token</label><input id="token" name="token" type="password" required autocomplete="off"><button class="main">Open</button></form></main>`;
  }
}

function tile(name, value, tone = "") {
  return html`<div class="tile"><dt>${name}</dt><dd class=${tone}>${value}</dd></div>`;
}

function outcome(verdict) {
  return html`<span class="outcome outcome-${plain(verdict)}">${plain(verdict)}</span>`;
}

function points({score, most}) {
  return score === null ? "\u2013" : `${short(score)} of ${short(most)}`;
}

function short(number) {
  return String(Math.round(number * 100) / 100);
}

const page = new Page(document.querySelector("#page"));
page.root.replaceChildren();
page.start();
