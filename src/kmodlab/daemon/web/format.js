// Numbers, times and names as text. Everything that a process chose goes through `plain`.

const MINUS = "\u2212";
const DASH = "\u2013";
const UNITS = ["", "k", "M", "G", "T"];
const BYTES = {ns: 1, "\u00b5s": 1e3, ms: 1e6, s: 1e9};

/** Whole numbers with thin gaps: 1 234 567. */
export function whole(number) {
  return String(Math.round(number)).replace("-", MINUS).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** A rate in three digits: 0.4, 12.3, 418, 9.87k. */
export function short(number) {
  const sign = number < 0 ? MINUS : "";
  let value = Math.abs(number);
  let unit = 0;
  for (; value >= 999.5 && unit < UNITS.length - 1; unit += 1) value /= 1000;
  const digits = unit === 0 && Number.isInteger(value) ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return sign + (value === 0 ? "0" : value.toFixed(digits)) + UNITS[unit];
}

/** A latency given in ns. */
export function duration(ns) {
  if (ns === null || !Number.isFinite(ns)) return DASH;
  const [unit, size] = Object.entries(BYTES).findLast(([, least]) => ns >= least) ?? ["ns", 1];
  const value = ns / size;
  return `${value < 10 && size > 1 ? value.toFixed(2) : value < 100 && size > 1 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}

/** A size given in KiB: 512 K, 11.7 M, 1.86 G. */
export function size(kib) {
  if (kib === null || kib === undefined) return DASH;
  let value = kib;
  let unit = 0;
  for (; value >= 999.5 && unit < 3; unit += 1) value /= 1024;
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value < 9.995 ? value.toFixed(2) : value.toFixed(1)} ${"KMGT"[unit]}`;
}

/** A span of time given in s: 45 s, 12 min, 3 h 20 min, 4 d. */
export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.round(seconds / 86400)} d`;
}

export function percent(part, all) {
  if (!all || !part) return all ? "0 %" : DASH;
  const share = (100 * part) / all;
  return share < 0.1 ? "<0.1 %" : `${share < 10 ? share.toFixed(1) : Math.round(share)} %`;
}

/** What a process chose, with what cannot be seen, or turns text around, written out. */
export function plain(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);
}

/** Times in one of three zones: UTC, the server's, the browser's. */
export class Clock {
  constructor(zone, offset) {
    this.zone = zone;
    this.offset = offset;
  }

  /** The parts of a time, s since 1970. */
  parts(wall) {
    const at = new Date(Math.round(wall * 1000));
    if (this.zone === "browser") {
      return [at.getFullYear(), at.getMonth() + 1, at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds(), at.getMilliseconds()];
    }
    const moved = new Date(at.getTime() + (this.zone === "server" ? this.offset * 1000 : 0));
    return [moved.getUTCFullYear(), moved.getUTCMonth() + 1, moved.getUTCDate(), moved.getUTCHours(), moved.getUTCMinutes(), moved.getUTCSeconds(), moved.getUTCMilliseconds()];
  }

  /** 14:03:07 */
  time(wall) {
    const [, , , h, m, s] = this.parts(wall);
    return [h, m, s].map(two).join(":");
  }

  /** 14:03:07.042 */
  exact(wall) {
    return `${this.time(wall)}.${String(this.parts(wall)[6]).padStart(3, "0")}`;
  }

  /** 2026-11-30 */
  date(wall) {
    const [y, mo, d] = this.parts(wall);
    return `${y}-${two(mo)}-${two(d)}`;
  }

  full(wall) {
    return `${this.date(wall)} ${this.time(wall)}`;
  }

  /** What an input of a date and time takes: 2026-11-30T14:03 */
  input(wall) {
    return `${this.date(wall)}T${this.time(wall)}`;
  }

  /** The time that such an input means, or null. */
  parsed(text) {
    const found = /^(\d+)-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d))?/.exec(text);
    if (!found) return null;
    const [y, mo, d, h, m, s] = found.slice(1).map((part) => Number(part ?? 0));
    if (this.zone === "browser") return new Date(y, mo - 1, d, h, m, s).getTime() / 1000;
    return Date.UTC(y, mo - 1, d, h, m, s) / 1000 - (this.zone === "server" ? this.offset : 0);
  }

  get label() {
    if (this.zone === "utc") return "UTC";
    const minutes = this.zone === "server" ? Math.round(this.offset / 60) : -new Date().getTimezoneOffset();
    const sign = minutes < 0 ? MINUS : "+";
    return `UTC${sign}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  }
}

function two(number) {
  return String(number).padStart(2, "0");
}

/** The latency that a share of a histogram is at most, ns: bucket b has the latencies of b bits. */
export function quantile(histogram, share) {
  const all = histogram.reduce((sum, n) => sum + n, 0);
  if (!all) return null;
  let left = share * all;
  for (let bucket = 0; bucket < histogram.length; bucket += 1) {
    if (histogram[bucket] >= left) return 2 ** Math.max(0, bucket - 1) * (1 + (bucket ? left / histogram[bucket] : 0));
    left -= histogram[bucket];
  }
  return 2 ** histogram.length;
}

const ERRNO = {1: "EPERM", 2: "ENOENT", 4: "EINTR", 5: "EIO", 9: "EBADF", 10: "ECHILD", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES",
  14: "EFAULT", 16: "EBUSY", 17: "EEXIST", 19: "ENODEV", 20: "ENOTDIR", 21: "EISDIR", 22: "EINVAL", 28: "ENOSPC", 30: "EROFS",
  32: "EPIPE", 38: "ENOSYS", 39: "ENOTEMPTY", 40: "ELOOP", 98: "EADDRINUSE", 101: "ENETUNREACH", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 115: "EINPROGRESS"};

/** What a call returned: a number, or the error's name. */
export function returned(value) {
  if (value === null) return DASH;
  return value < 0 && ERRNO[-value] ? ERRNO[-value] : String(value).replace("-", MINUS);
}
