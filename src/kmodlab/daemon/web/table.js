// Tables of calls, and what one of them was in full.

import {guard, html, nothing, repeat} from "./vendor/lit.js";
import {duration, plain, returned, whole} from "./format.js";
import {identity} from "./model.js";

const WORDS = {LOGGED: "ok", BLOCKED: "blocked", FAILED: "failed"};


export function status(row) {
  let word = WORDS[row.status];
  if (row.status === "BLOCKED" && !row.enforced) word = "would block";
  // Nobody has recorded what it returned.
  if (row.status === "LOGGED" && row.returned === null) word = "allowed";
  return html`<span class="status status-${row.status.toLowerCase()}">${word}</span>`;
}

/** Arguments as the call had them, one after the other. */
export function args(row) {
  return html`<bdi class="args">${row.arguments.map((one, index) => html`${index ? html`<i>, </i>` : nothing}${plain(one)}`)}</bdi>`;
}

const COLUMNS = [
  ["time", "Time", (row, page) => html`<time>${page.clock.time(row.wall)}<span class="ms">${page.clock.exact(row.wall).slice(8)}</span></time>`],
  ["call", "Call", (row, page) => html`<span class=${page.palette.swatch(row.call)}></span>${plain(row.call)}`],
  ["state", "Status", status],
  ["process", "Process", (row) => html`<bdi>${plain(row.comm)}</bdi>`],
  ["pid number", "PID", (row) => row.pid],
  ["uid number wide", "UID", (row) => row.uid],
  ["cpu number wide", "CPU", (row) => row.cpu],
  ["latency number", "Latency", (row) => duration(row.latency)],
  ["returned number", "Returned", (row) => returned(row.returned)],
  ["arguments", "Arguments", args],
];
const BRIEF = new Set(["Time", "Call", "Status", "Process", "PID", "Arguments"]);

/** A table of calls; `brief` leaves out what only details have. */
export function calls(page, rows, {label, brief = false, empty = "Nothing yet.", foot = nothing} = {}) {
  const columns = COLUMNS.filter(([, title]) => !brief || BRIEF.has(title));
  if (!rows.length) return html`<p class="empty">${empty}</p>${foot}`;
  return html`<div class="scroll" role="region" tabindex="0" aria-label=${label}>
    <table class="calls ${brief ? "brief" : ""}" @keydown=${move}>
      <thead><tr>${columns.map(([names, title]) => html`<th scope="col" class=${names}>${title}</th>`)}</tr></thead>
      <tbody>${repeat(rows, identity, (row) => guard([row, page.clock, page.palette.swatch(row.call)], () => line(page, row, columns)))}</tbody>
    </table>${foot}</div>`;
}

function line(page, row, columns) {
  return html`<tr class="row-${row.status.toLowerCase()}" tabindex="-1" data-key=${identity(row)} @click=${() => page.open(row)}>
    ${columns.map(([names, title, show]) => (title === "Call"
      ? html`<td class=${names}><button class="plain" tabindex="0" aria-label=${`${plain(row.call)} of ${plain(row.comm)}, details`}>${show(row, page)}</button></td>`
      : html`<td class=${names}>${show(row, page)}</td>`))}</tr>`;
}

/** Up and down go from row to row. */
function move(event) {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key];
  const row = event.target.closest("tr");
  if (!step || !row) return;
  const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
  next?.querySelector("button")?.focus();
  event.preventDefault();
}

/** All of one call. */
export function details(page, row) {
  const facts = [
    ["Time", `${page.clock.date(row.wall)} ${page.clock.exact(row.wall)} ${page.clock.label}`],
    ["Status", status(row)],
    ["Ran", row.enforced ? "no: the filter was enforced" : "yes"],
    ["Returned", row.returned === null ? "not known" : `${returned(row.returned)}${row.returned < 0 ? ` (${row.returned})` : ""}`],
    ["Latency", row.latency === null ? "not known" : `${duration(row.latency)} (${whole(row.latency)} ns)`],
    ["Process", html`<bdi>${plain(row.comm)}</bdi>`],
    ["PID, TID, parent", `${row.pid}, ${row.tid}, ${row.ppid}`],
    ["UID", row.uid],
    ["CPU, number on it", `${row.cpu}, ${whole(row.seq)}`],
    ["Boot and load", row.epoch],
  ];
  const inputs = row.arguments.map((one, index) => [`Argument ${index + 1}`, html`<bdi class="args">${plain(one)}</bdi>`]);
  return html`<h2 id="details-title"><span class=${page.palette.swatch(row.call)}></span>${plain(row.call)}</h2>
    <dl class="facts">${[...inputs, ...facts].map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
    <p class="actions"><button @click=${() => page.filterBy(`pid=${row.pid}`)}>Only this process</button>
    <button @click=${() => page.filterBy(`call=${row.call}`)}>Only this call</button>
    <button class="main" @click=${() => page.close()}>Close</button></p>`;
}
