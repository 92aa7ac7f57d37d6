// All tasks, of which there may be very many: the server sorts and searches, and only the rows in sight are asked for.

import {html, nothing, repeat} from "./vendor/lit.js";
import {get, rows} from "./api.js";
import {plain, size, span, whole} from "./format.js";

const EVERY = 2000;
const AROUND = 40;
/** Rows that are asked for above those in sight, and below. */
const OVER = 6;
const ROW = 27;
const EXAMPLES = ["state=running", "state=zombie", "uid=0", "ppid=1"];
const TONES = {RUNNING: "good", ZOMBIE: "bad", DEAD: "bad", STOPPED: "warn", TRACED: "warn", DISK_SLEEP: "warn"};
const COLUMNS = [
  ["comm", "Command", "name"], ["pid", "PID", "number"], ["ppid", "Parent", "number wide"], ["state", "State", "task-state"],
  ["rss", "Memory", "number size"], ["vm", "Address space", "number size wide"], ["threads", "Threads", "number wide"], ["uid", "UID", "number"], ["gid", "GID", "number wide"],
];
const SUMS = [["tasks", "Subtree", "number"], ["rss_sum", "Its memory", "number size"]];
const SIZES = new Set(["rss", "vm", "rss_sum"]);

export class TaskTable {
  constructor(page) {
    this.page = page;
    this.sort = "rss";
    this.order = "down";
    this.tree = false;
    this.filter = "";
    this.closed = new Set();
    this.at = null;
    this.top = 0;
    this.height = 20 * ROW;
    this.found = null;
    this.unseen = null;
    this.asked = -Infinity;
    /** The row that keys are about: its place, and the PID where that is known. The table has the focus, whatever is drawn anew. */
    this.current = null;
    /** Keys that wait for the row to be there. */
    this.waiting = [];
  }

  // -- what is asked for -------------------------------------------------------------------------------------------

  /** The rows in sight, and some around them. */
  get sight() {
    const first = Math.max(0, Math.floor(this.top / ROW) - OVER);
    return {first, last: first + Math.ceil(this.height / ROW) + 2 * OVER};
  }

  get covered() {
    if (!this.found) return false;
    const {first, last} = this.sight;
    const {offset, list, shown} = this.found;
    return first >= Math.min(offset, shown) && Math.min(last, shown) <= offset + list.length;
  }

  /** Ask anew: every two seconds, and at once where other rows are wanted. A snapshot does not change. */
  refresh() {
    if (this.asking) return;
    const old = performance.now() - this.asked > EVERY;
    const held = this.problem || this.unseen;
    if (!this.dirty && !(old && (this.at === null || held)) && (this.covered || held)) return;
    this.asking = this.ask().finally(() => { this.asking = null; this.page.changed(); });
  }

  async ask() {
    const {first, last} = this.sight;
    const offset = Math.max(0, first - AROUND);
    Object.assign(this, {dirty: false, asked: performance.now()});
    try {
      const answer = await get("tasks", {
        at: this.at, filter: this.filter, sort: this.sort, order: this.order, shape: this.tree ? "tree" : "flat",
        closed: [...this.closed].join(","), offset, limit: Math.min(1000, last - offset + AROUND),
      });
      this.problem = null;
      this.unseen = answer.trouble;
      if (this.unseen) this.found = null;
      else if (!this.dirty) this.take(answer);
    } catch (error) {
      this.problem = error;
    }
  }

  take(answer) {
    const list = rows(answer.rows);
    // It is shorter than where we are: to its end.
    if (!list.length && answer.shown && answer.offset) {
      this.scroll?.scrollTo(0, 0);
      this.dirty = true;
    }
    this.found = {...answer, list, tree: this.tree};
    this.follow();
  }

  /** Stay with the task, wherever it has moved; one that has ended leaves its place to the next. */
  follow() {
    if (!this.current) return;
    const {list, offset, shown} = this.found;
    const place = list.findIndex((row) => row.pid === this.current.pid);
    const index = Math.max(0, Math.min(place < 0 ? this.current.index : place + offset, shown - 1));
    const row = list[index - offset];
    this.current = {index, pid: row ? row.pid : this.current.pid};
    if (row) for (const key of this.waiting.splice(0)) this.act(key);
  }

  change(what) {
    Object.assign(this, what, {dirty: true});
    this.page.draw();
  }

  by(name) {
    const down = name !== "comm" && name !== "state" && name !== "pid" && name !== "ppid";
    const turned = this.order === "down" ? "up" : "down";
    this.change(this.sort === name ? {order: turned} : {sort: name, order: down ? "down" : "up"});
  }

  /** Show the tasks of a time, or of now. */
  asOf(at) {
    this.change({at, found: null, unseen: null, problem: null});
  }

  shape() {
    const sums = SUMS.some(([name]) => name === this.sort);
    this.change({tree: !this.tree, ...(this.tree && sums ? {sort: "rss", order: "down"} : {})});
  }

  toggle(pid, close) {
    if (close === this.closed.has(pid)) return;
    if (close) this.closed.add(pid);
    else this.closed.delete(pid);
    this.change({closed: new Set([...this.closed].slice(-150))});
  }

  search(filter) {
    this.change({filter});
  }

  // -- what is drawn -----------------------------------------------------------------------------------------------

  /** Why there is nothing, in a sentence; recording goes on. */
  trouble() {
    if (this.unseen) return html`<p class="note" role="status"><strong>Tasks are not seen: ${plain(this.unseen.detail)}.</strong> ${plain(this.unseen.hint ?? "")}</p>`;
    const missing = this.found?.missing ?? [];
    return missing.length ? html`<p class="note" role="status">The task lister of this machine is older: it does not tell ${missing.map(plain).join(", ")}.</p>` : nothing;
  }

  render() {
    this.refresh();
    // A table that is not there for a while is to have the focus again.
    if (document.activeElement !== document.body) this.held = Boolean(document.activeElement?.matches?.("table.tasks"));
    queueMicrotask(() => this.settle());
    return html`<section class="panel tasks-panel"><header class="bar"><h2>Tasks, one by one</h2>${this.search_bar()}${this.as_of()}
        <button class=${this.tree ? "on" : ""} aria-pressed=${this.tree ? "true" : "false"} @click=${() => this.shape()}>Tree</button></header>
      <p class="hints">${EXAMPLES.map((one) => html`<button class="chip" @click=${() => this.search(one)}>${one}</button>`)}
        ${this.filter ? html`<button class="chip" @click=${() => this.search("")}>Everything</button>` : nothing}</p>
      <p class="said" role="status">${this.status()}</p>${this.found ? this.table(this.found) : html`<p class="empty">${this.unseen ? "Nobody sees them." : "Looking\u2026"}</p>`}</section>`;
  }

  search_bar() {
    const submit = (event) => {
      event.preventDefault();
      this.search(new FormData(event.target).get("task-filter").trim());
    };
    return html`<form class="filter" role="search" @submit=${submit}><label for="task-filter">Search</label>
      <input id="task-filter" name="task-filter" type="search" autocomplete="off" spellcheck="false" maxlength="512" .value=${this.filter} placeholder="a part of the name, a PID, state=running, uid=0, ppid=1"><button>Show</button></form>`;
  }

  as_of() {
    const {clock} = this.page;
    const submit = (event) => {
      event.preventDefault();
      const at = clock.parsed(new FormData(event.target).get("as-of"));
      if (at !== null) this.asOf(at);
    };
    return html`<form class="bar" @submit=${submit}><button type="button" aria-pressed=${this.at === null ? "true" : "false"} @click=${() => this.asOf(null)}>Now</button>
      <label for="as-of">as of</label><input id="as-of" name="as-of" type="datetime-local" step="1" .value=${this.at === null ? "" : clock.input(this.at)}><button aria-label="Show the tasks of then">Show</button></form>`;
  }

  status() {
    if (this.problem) return html`<strong class="bad">${this.problem.message}</strong> ${this.problem.hint ?? ""}`;
    if (!this.found) return "";
    const {n, matched, wall, tree} = this.found;
    const {clock} = this.page;
    const when = this.at === null ? `as of ${clock.time(wall)}` : `by the snapshot of ${clock.full(wall)}, ${span(Math.abs(wall - this.at))} from what was asked for`;
    return `${whole(n)} tasks ${when}${this.filter ? `; ${whole(matched)} of them match${tree ? ", shown below their parents" : ""}` : ""}.`;
  }

  /** Only the rows in sight are elements; what is above and below them is room. */
  table({list, offset, shown, tree, rows: told}) {
    const {first, last} = this.sight;
    const from = Math.min(Math.max(first, offset), Math.max(offset, shown));
    const some = list.slice(from - offset, Math.min(last, shown) - offset);
    const columns = [...COLUMNS, ...(tree ? SUMS : [])].filter(([name]) => told[name]);
    const room = (count) => (count > 0 ? html`<tr class="room" aria-hidden="true"><td height=${count * ROW}></td></tr>` : nothing);
    if (!shown) return html`<p class="empty">No task matches.</p>`;
    const pointed = some.some((row) => row.pid === this.current?.pid);
    return html`<div class="scroll tasks-scroll" role="region" aria-label="Tasks" @scroll=${(event) => this.scrolled(event.target)}>
      <table class="tasks ${tree ? "tree" : ""}" role=${tree ? "treegrid" : "grid"} tabindex="0" aria-label=${tree ? "Tasks below their parents" : "Tasks in an order"} aria-rowcount=${shown + 1}
        aria-activedescendant=${pointed ? `task-${this.current.pid}` : nothing} @keydown=${(event) => this.key(event)} @focus=${() => this.point()}>
        <thead><tr aria-rowindex="1">${columns.map((one) => this.head(one))}</tr></thead>
        <tbody>${room(from)}${repeat(some, (row) => row.pid, (row, index) => this.line(row, from + index, columns, tree))}${room(shown - from - some.length)}</tbody></table></div>`;
  }

  head([name, title, names]) {
    const sorted = this.sort === name;
    return html`<th scope="col" class=${names} aria-sort=${sorted ? (this.order === "down" ? "descending" : "ascending") : nothing}>
      <button class="plain" @click=${() => this.by(name)}>${title}${sorted ? html`<span class="arrow" aria-hidden="true">${this.order === "down" ? "\u25bc" : "\u25b2"}</span>` : nothing}</button></th>`;
  }

  line(row, index, columns, tree) {
    const open = !this.closed.has(row.pid) || Boolean(this.filter);
    const current = row.pid === this.current?.pid;
    return html`<tr id=${`task-${row.pid}`} class=${current ? "current" : ""} aria-selected=${String(current)} aria-rowindex=${index + 2} aria-level=${tree ? row.depth + 1 : nothing} aria-expanded=${tree && row.children ? String(open) : nothing} @click=${() => this.clicked(row, index)}>
      ${columns.map(([name, , names]) => html`<td class=${names}>${name === "comm" ? this.name(row, tree, open) : this.cell(name, row[name])}</td>`)}</tr>`;
  }

  name(row, tree, open) {
    const twist = (event) => {
      event.stopPropagation();
      event.target.closest("table").focus({preventScroll: true});
      this.toggle(row.pid, open);
    };
    const mark = row.children ? html`<button class="twist" tabindex="-1" aria-label=${`${open ? "Close" : "Open"} ${plain(row.comm)}`} ?disabled=${Boolean(this.filter)} @click=${twist}>${open ? "\u25be" : "\u25b8"}</button>` : html`<i class="twist"></i>`;
    const steps = tree ? html`${Array.from({length: Math.min(row.depth, 16)}, () => html`<i class="step"></i>`)}${row.depth > 16 ? `[${row.depth}] ` : ""}${mark}` : nothing;
    return html`${steps}<bdi>${plain(row.comm)}</bdi>`;
  }

  cell(name, value) {
    if (name === "state") return html`<span class=${TONES[value] ?? "dim"}>${plain(value).toLowerCase().replaceAll("_", " ")}</span>`;
    return SIZES.has(name) ? (value ? size(value) : html`<span class="faint">0</span>`) : value;
  }

  // -- keys, and where the table is --------------------------------------------------------------------------------

  scrolled(element) {
    this.top = element.scrollTop;
    this.height = element.clientHeight;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.page.draw();
    });
  }

  /** After it was drawn: how much is in sight. */
  settle() {
    this.scroll = this.page.root.querySelector(".tasks-scroll");
    if (!this.scroll) return;
    // A table that has become shorter is where it can be.
    if (Math.abs(this.scroll.scrollTop - this.top) > 1 || Math.abs(this.scroll.clientHeight - this.height) > 1) this.scrolled(this.scroll);
    if (this.held && document.activeElement === document.body) this.scroll.querySelector("table").focus({preventScroll: true});
  }

  /** Who comes by a key begins at the first row in sight. */
  point() {
    if (!this.current) this.go(Math.ceil(this.top / ROW));
  }

  key(event) {
    if (event.target !== event.currentTarget || event.altKey || event.ctrlKey || event.metaKey || !this.found.shown) return;
    const {index} = this.current ?? {index: Math.ceil(this.top / ROW)};
    const page = Math.max(1, Math.floor(this.height / ROW) - 2);
    const end = this.found.shown - 1;
    const to = {ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: end}[event.key];
    if (to !== undefined) this.go(Math.min(Math.max(to, 0), end));
    else if (!this.act(event.key)) return;
    event.preventDefault();
  }

  /** Do what a key does to the row; return whether it is one that does something. */
  act(key) {
    if (key !== "Enter" && !(this.tree && (key === "ArrowLeft" || key === "ArrowRight"))) return false;
    const {index} = this.current;
    const row = this.found.list[index - this.found.offset];
    if (!row) this.waiting.push(key);
    else if (key === "Enter") this.open(row);
    else if (key === "ArrowLeft") this.leave(row, index);
    else if (row.children) this.toggle(row.pid, false);
    return true;
  }

  /** Close what is open, or go to the parent. */
  leave(row, index) {
    if (row.children && !this.closed.has(row.pid) && !this.filter) return this.toggle(row.pid, true);
    const above = this.found.list.findLastIndex((one, at) => at + this.found.offset < index && one.depth < row.depth);
    if (above >= 0) this.go(above + this.found.offset);
  }

  go(index) {
    this.waiting = [];
    this.current = {index, pid: this.found.list[index - this.found.offset]?.pid ?? null};
    const head = this.scroll.querySelector("thead").offsetHeight;
    const top = index * ROW;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    else if (top + ROW + head > this.scroll.scrollTop + this.height) this.scroll.scrollTop = top + ROW + head - this.height;
    this.scrolled(this.scroll);
  }

  clicked(row, index) {
    this.current = {index, pid: row.pid};
    this.open(row);
  }

  open(row) {
    this.task = row;
    this.page.show("task");
  }
}

/** All of one task. */
export function facts(page, row) {
  const told = [
    ["PID, parent", `${row.pid}, ${row.ppid ?? "\u2013"}`], ["State", plain(row.state).toLowerCase().replaceAll("_", " ")],
    ["Memory in use", size(row.rss)], ["Address space", size(row.vm)], ["Threads", row.threads ?? "\u2013"],
    ["User, group", `${row.uid ?? "\u2013"}, ${row.gid ?? "\u2013"}`],
    ...(row.tasks === undefined ? [] : [["With all below it", `${whole(row.tasks)} ${row.tasks === 1 ? "task" : "tasks"}, ${size(row.rss_sum)} in memory`]]),
  ];
  const table = page.views.tasks.table;
  const only = (filter) => {
    page.close();
    table.search(filter);
  };
  return html`<h2 id="task-title"><bdi>${plain(row.comm)}</bdi></h2>
    <dl class="facts">${told.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    <p class="actions"><button @click=${() => page.filterBy(`pid=${row.pid}`)}>Its calls</button>
    <button @click=${() => only(`ppid=${row.pid}`)}>Its children</button>
    <button class="main" @click=${() => page.close()}>Close</button></p>`;
}
