// One stream for all tabs of a browser: HTTP/1.1 lets it have six to a host, and the seventh tab would hang without a word.
// The tab that holds the lock has the stream, and hands on what comes; the others tell it which rows they want.

import {alone, session} from "./api.js";

const ANNOUNCE = 4000;
const FORGET = 15000;
const RETRY = 2000;
const SETTLE = 200;
/** Tabs that show the same share: each host of a fleet has a stream of its own. */
const SHARED = `kmodlab:${location.pathname}${alone === null ? "" : `?${alone}`}`;

export class Stream {
  /** `heard` gets ("state" | "tick" | "link", what). */
  constructor(heard) {
    this.heard = heard;
    this.tab = crypto.randomUUID?.() ?? String(Math.random());
    this.filter = "";
    this.leads = false;
    this.stale = false;
    this.others = new Map();
    this.last = "";
    this.latest = null;
    this.machine = null;
    this.channel = new BroadcastChannel(SHARED);
    this.channel.onmessage = ({data}) => this.told(data);
    document.addEventListener("visibilitychange", () => this.seen());
    addEventListener("pagehide", () => this.tell("bye", null));
    setInterval(() => this.announce(), ANNOUNCE);
    this.seen();
  }

  /** Ask for the rows that match a filter. */
  want(filter) {
    if (filter === this.filter) return;
    this.filter = filter;
    this.announce();
    this.renew();
  }

  /** A tab that nobody looks at has no stream. */
  seen() {
    if (document.visibilityState === "hidden") {
      this.stale = true;
      this.resign?.();
    } else {
      this.tell("hello", this.filter);
      this.stand();
    }
  }

  /** Wait to be the one that has the stream. */
  stand() {
    if (this.standing) return;
    this.standing = true;
    this.end = new AbortController();
    const lead = () => new Promise((done) => {
      this.resign = () => { this.rest(); done(); };
      this.lead();
    });
    const over = () => { this.standing = false; };
    // Without a secure context there are no locks: then every tab has its own.
    const held = navigator.locks ? navigator.locks.request(SHARED, {signal: this.end.signal}, lead) : lead();
    held.then(over, over);
    this.resign = () => this.end.abort();
  }

  lead() {
    this.leads = true;
    this.tell("who", null);
    this.renew();
  }

  rest() {
    this.leads = false;
    this.source?.close();
    this.source = null;
    this.open = null;
  }

  announce() {
    if (document.visibilityState === "visible") this.tell("filter", this.filter);
    for (const [tab, other] of this.others) if (performance.now() - other.at > FORGET) this.others.delete(tab);
  }

  tell(kind, what) {
    this.channel.postMessage({kind, what, from: this.tab});
  }

  told({kind, what, from}) {
    if (kind === "who") this.announce();
    if (kind === "bye") this.others.delete(from);
    if ((kind === "filter" || kind === "hello") && this.leads) {
      this.others.set(from, {filter: what, at: performance.now()});
      if (kind === "hello" && this.latest) this.tell("state", {what: {machine: this.machine, base: this.latest}, id: this.last});
      this.renew();
    }
    if (!this.leads && document.visibilityState === "visible" && ["state", "tick", "link"].includes(kind)) this.follow(kind, what);
  }

  /** Take what the tab with the stream hands on, from a state on: one that is not for us would have us begin again. */
  follow(kind, {what, id, anew}) {
    if (kind === "state") {
      if (this.begun && !this.stale && !anew) return;
      this.begun = true;
      this.stale = false;
    } else if (kind === "tick" && (!this.begun || this.stale)) return;
    this.take(kind, what, id);
  }

  /** Remember where we are: we may be the next to have the stream, and go on from there. */
  take(kind, what, id) {
    this.last = id || this.last;
    if (kind === "state") this.machine = what.machine;
    if (kind !== "link") this.latest = kind === "tick" ? head(what) : what.base;
    this.heard(kind, what);
  }

  /** Open the stream with all the filters that somebody wants; anew only where these are others. */
  renew() {
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.reopen(), SETTLE);
  }

  reopen() {
    if (!this.leads) return;
    const wanted = [...new Set([this.filter, ...[...this.others.values()].map((other) => other.filter)])].slice(0, 8).sort();
    const key = JSON.stringify(wanted);
    if (this.open === key && this.source?.readyState !== EventSource.CLOSED) return;
    this.open = key;
    const query = new URLSearchParams(wanted.map((filter) => ["view", filter]));
    if (alone !== null) query.set("host", alone);
    if (this.last && this.begun) query.set("after", this.last);
    this.source?.close();
    this.source = new EventSource(`api/v1/stream?${query}`);
    this.listen(this.source);
  }

  listen(source) {
    source.addEventListener("state", (event) => this.got("state", event));
    source.addEventListener("tick", (event) => this.got("tick", event));
    source.addEventListener("closed", () => { source.close(); this.lost(); });
    source.onopen = () => this.say("open");
    source.onerror = () => (source.readyState === EventSource.CLOSED ? this.lost() : this.say("reconnecting"));
  }

  got(kind, event) {
    const what = JSON.parse(event.data);
    this.begun = true;
    this.stale = false;
    this.take(kind, what, event.lastEventId);
    this.tell(kind, {what, id: event.lastEventId, anew: true});
  }

  say(link) {
    this.heard("link", link);
    this.tell("link", {what: link});
  }

  /** Look why, and try again unless the session is over. */
  async lost() {
    this.say("reconnecting");
    this.open = null;
    const alive = await session().catch(() => undefined);
    if (alive === null) this.say("ended");
    else if (this.leads) setTimeout(() => this.reopen(), RETRY);
  }
}

function head({number, epoch, clock, wall, seconds, behind, ledger, cpus, troubles, open}) {
  return {number, epoch, clock, wall, seconds, behind, ledger, cpus, troubles, open};
}
