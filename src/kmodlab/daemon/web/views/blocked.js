// Every blocked call: those that came since the page was opened, and behind them the history's.

import {html, nothing} from "../vendor/lit.js";
import {get, rows} from "../api.js";
import {whole} from "../format.js";
import {identity} from "../model.js";
import {calls} from "../table.js";

const MONTH = 31 * 86400;
const PAGE = 200;

export class Blocked {
  title = "Blocked";

  constructor(page) {
    this.page = page;
    this.older = [];
    this.before = undefined;
  }

  /** Ask for those before the ones that are here. */
  async more() {
    if (this.asking) return;
    this.asking = true;
    const end = this.page.model.now;
    try {
      const found = await get("blocked", {begin: Math.max(0, end - MONTH), end, limit: PAGE, before: this.before});
      this.older = this.older.concat(rows(found.rows));
      this.before = found.before;
      this.problem = null;
    } catch (error) {
      this.before ??= null;
      this.problem = error;
    }
    this.asking = false;
    this.page.changed();
  }

  /** Those that came, and those of before as far as they were asked for. */
  get rows() {
    const {model} = this.page;
    if (this.before === undefined && model.latest) this.more();
    const seen = new Set(model.blocked.map(identity));
    return model.blocked.concat(this.older.filter((row) => !seen.has(identity(row))));
  }

  render() {
    const {page} = this;
    const all = this.rows;
    const unseen = page.model.blockedMore;
    const mode = page.model.machine?.mode;
    return html`<section class="panel fill"><header><h2>Blocked calls</h2>
        <span class="dim">${mode === "enforcing" ? "The module enforces: these did not run." : "The module is permissive: these are what would be blocked; they ran."}</span></header>
      <p class="said" role="status">${unseen ? html`<strong class="warn">${whole(unseen)} more</strong> were too many to come one by one: History has them.` : "None was left out: up to 200 a second come one by one, more are counted here."}
        ${this.problem ? html`<span class="bad">${this.problem.message}</span>` : nothing}</p>
      ${calls(page, all, {label: "Blocked calls", empty: "No call was blocked.", foot: this.before ? html`<p class="more"><button @click=${() => this.more()}>Older ones</button></p>` : nothing})}
    </section>`;
  }
}
