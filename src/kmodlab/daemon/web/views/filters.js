// Filters and enforcement, for who may change them; who has changed what, for all.

import {html, nothing} from "../vendor/lit.js";
import {get, post, rows} from "../api.js";
import {plain} from "../format.js";
import {copied} from "../model.js";

const MONTH = 31 * 86400;
const EVERY = 5000;
const TRIES = 10;
const AGAIN = 150;
const PARTS = [["errno", "Error", "EPERM", "text"], ["pid", "PID", "any", "numeric"], ["uid", "UID", "any", "numeric"], ["comm", "Command name", "any", "text"], ["path", "Path begins with", "any", "text"]];

export class Filters {
  title = "Filters";

  constructor(page) {
    this.page = page;
    this.changes = [];
    this.asked = -Infinity;
  }

  /** Have the module do something, and say what it says. */
  async control(command, done) {
    this.said = null;
    try {
      const before = JSON.stringify(settings(this.page.model.machine));
      this.page.model.machine = await post("control", {command});
      await this.settle(before);
      this.said = {good: true, text: done ?? `Done: ${command}`};
    } catch (error) {
      this.said = {good: false, text: error.message, hint: error.hint};
    }
    this.asked = -Infinity;
    this.page.changed();
    return this.said.good;
  }

  /** Wait until the change is seen: the module tells it, not whoever asked for it. */
  async settle(before) {
    for (let left = TRIES; left && JSON.stringify(settings(this.page.model.machine)) === before; left -= 1) {
      await new Promise((done) => setTimeout(done, AGAIN));
      await this.page.look();
    }
  }

  async load() {
    this.asked = performance.now();
    const end = this.page.model.now + 60;
    this.changes = rows(await get("changes", {begin: Math.max(0, end - MONTH), end}).catch(() => ({})));
    this.page.changed();
  }

  render() {
    if (this.page.model.latest && performance.now() - this.asked > EVERY) this.load();
    const {machine} = this.page.model;
    if (!machine) return html`<p class="empty">Waiting for the machine.</p>`;
    if (copied(machine)) return html`<p class="note">This page is a copy: the page of the host itself shows its filters, and changes them.</p>${this.log()}`;
    return html`${this.page.admin ? nothing : html`<p class="note">You may look. Changes take the role admin.</p>`}
      <p class="result ${this.said ? (this.said.good ? "good" : "bad") : ""}" role="status">${this.said ? html`<strong>${plain(this.said.text)}</strong> ${plain(this.said.hint ?? "")}` : nothing}</p>
      <div class="columns uneven">
        <div class="stack">${this.mode(machine)}${this.list(machine)}</div>
        <div class="stack">${this.page.admin ? this.form() : nothing}${this.traced(machine)}</div>
      </div>${this.log()}`;
  }

  mode(machine) {
    const enforcing = machine.mode === "enforcing";
    const [words, command] = enforcing ? ["Be permissive", "enforce=0"] : ["Enforce", "enforce=1"];
    return html`<section class="panel"><header><h2>Mode</h2></header><div class="padded mode">
      <strong class="mode-${plain(machine.mode)}">${plain(machine.mode)}</strong>
      <span>${enforcing ? "A call that a filter blocks does not run." : "A call that a filter blocks is told, and runs."}</span>
      ${this.page.admin ? html`<button @click=${() => this.control(command, enforcing ? "The module is permissive." : "The module enforces.")}>${words}</button>` : nothing}</div></section>`;
  }

  list(machine) {
    return html`<section class="panel"><header><h2>Filters</h2><span class="dim">the first that matches decides</span></header>
      ${machine.filters.length ? html`<ol class="filters">${machine.filters.map((one) => this.line(one))}</ol>` : html`<p class="empty">No filter: nothing is blocked.</p>`}</section>`;
  }

  line(text) {
    const [name, verdict, ...rest] = text.replace(":", "").split(" ");
    const blocks = /^block$/i.test(verdict);
    return html`<li><span class="status ${blocks ? "status-blocked" : "status-logged"}">${blocks ? "block" : "allow"}</span>
      <bdi class="args"><b>${plain(name)}</b> ${plain(rest.join(" "))}</bdi>
      ${this.page.admin ? html`<button aria-label=${`Delete the filters of ${plain(name)}`} @click=${() => this.control(`${name} delete`, `The filters of ${name} are gone.`)}>Delete</button>` : nothing}</li>`;
  }

  form() {
    return html`<section class="panel"><header><h2>A new filter</h2></header><form class="padded grid" @submit=${(event) => this.add(event)}>
      <label>Call<input name="name" required maxlength="64" placeholder="unlink" autocomplete="off" spellcheck="false"></label>
      <label>Verdict<select name="verdict"><option>block</option><option>allow</option></select></label>
      ${PARTS.map(([name, words, hint, mode]) => html`<label>${words}<input name=${name} maxlength="255" placeholder=${hint} inputmode=${mode} autocomplete="off" spellcheck="false"></label>`)}
      <p><button class="main">Add</button></p></form></section>`;
  }

  async add(event) {
    event.preventDefault();
    const form = event.target;
    const given = new FormData(form);
    const parts = PARTS.map(([name]) => [name, given.get(name).trim()]).filter(([, value]) => value);
    const command = [given.get("name").trim(), given.get("verdict"), ...parts.map(([name, value]) => `${name}=${escaped(value)}`)].join(" ");
    if (await this.control(command)) form.reset();
  }

  traced(machine) {
    const add = async (event) => {
      event.preventDefault();
      const form = event.target;
      if (await this.control(`trace ${new FormData(form).get("call").trim()}`)) form.reset();
    };
    return html`<section class="panel"><header><h2>Calls that are traced</h2></header><div class="padded">
      <ul class="traced">${machine.traced.map((one) => html`<li><span>${plain(one)}</span>${this.page.admin ? html`<button aria-label=${`Do not trace ${plain(one)}`} @click=${() => this.control(`untrace ${one}`)}>\u00d7</button>` : nothing}</li>`)}</ul>
      ${this.page.admin ? html`<form class="bar" @submit=${add}><label for="trace">Trace</label><input id="trace" name="call" required maxlength="64" placeholder="connect" autocomplete="off" spellcheck="false"><button>Add</button></form>` : nothing}</div></section>`;
  }

  log() {
    const {clock} = this.page;
    return html`<section class="panel"><header><h2>Who changed what</h2></header>
      ${this.changes?.length ? html`<div class="scroll" tabindex="0" role="region" aria-label="Changes"><table><thead><tr><th scope="col">Time</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
        <tbody>${this.changes.map((one) => html`<tr><td><time>${clock.full(one.wall)}</time></td><td><bdi>${plain(one.who)}</bdi></td><td class="args"><bdi>${plain(one.what)}</bdi></td><td class="args"><bdi>${plain(one.before) || "\u2013"}</bdi></td><td class="args"><bdi>${plain(one.after) || "\u2013"}</bdi></td></tr>`)}</tbody></table></div>` : html`<p class="empty">Nothing was changed in the last 31 days.</p>`}</section>`;
  }
}

function settings({mode, filters, traced}) {
  return [mode, filters, traced];
}

/** A word of the tracer's commands: every byte but `!` to `~` as a backslash and three octal digits, as docs/abi.md has it. */
function escaped(text) {
  return [...new TextEncoder().encode(text)].map((byte) => (byte > 32 && byte < 127 && byte !== 92 ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, "0")}`)).join("");
}
