// Requests, and why one was not answered. Addresses are relative: the page may lie below a proxy's path.

/** The one host of a fleet that the address names, or null: then all are shown as one. */
export const alone = new URLSearchParams(location.search).get("host");

/** The address that shows one host alone, or all as one. */
export function link(host, view = "live") {
  return `${location.pathname}${host === null ? "" : `?${new URLSearchParams({host})}`}#${view}`;
}

export class Problem extends Error {
  constructor(status, detail, hint) {
    super(detail);
    this.status = status;
    this.hint = hint;
  }
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(response.status, body.detail ?? `the server answers ${response.status}`, body.hint);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(`api/v1/${path}`, {credentials: "same-origin", cache: "no-store", ...options});
  } catch {
    throw new Problem(0, "the server does not answer");
  }
  if (!response.ok) throw await problem(response);
  return response.status === 204 ? null : response.json();
}

/** The answer to a question, of the host that is shown; parameters that are null are left out. */
export function get(path, parameters = {}) {
  const given = Object.entries({host: alone, ...parameters}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  return ask(query ? `${path}?${query}` : path);
}

export function post(path, body) {
  return ask(path, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
}

export function remove(path) {
  return ask(path, {method: "DELETE"});
}

/** The session that is there, or null. */
export async function session() {
  try {
    return await get("session", {host: null});
  } catch (error) {
    if (error.status === 401) return null;
    throw error;
  }
}

/** The session that the token of an address opens. */
export async function exchange(token) {
  try {
    return await post("session", {token: decodeURIComponent(token)});
  } catch (error) {
    // The same address again, in a browser that has been let in by it.
    const found = await session();
    if (found) return found;
    throw error;
  }
}

/** The rows of a table of columns. */
export function rows(columns) {
  const names = Object.keys(columns);
  const count = names.length ? columns[names[0]].length : 0;
  return Array.from({length: count}, (_, index) => Object.fromEntries(names.map((name) => [name, columns[name][index]])));
}
