// Requests to the page's own server: the same objects that the commands print with --json.
//
//   get(path, params, {signal, onWait, onAway, onBack})
//                      the answer of GET /api + path. Waits for what is being prepared (202; onWait(done, of)), tries again
//                      while the journal is busy or the server is away (503, 429 with a time to wait, no connection;
//                      onAway(error, seconds)), and calls onBack() once that is over. Everything else is thrown as an ApiError
//   post(path, body)   the answer of POST /api + path, tried once
//   account(server, login, ...rest)   the path of an account: account("Broker-Live", 70113, "log")
//   ApiError           status, code, text, retryable, and all other members of the error's object in `more`
//   setCsrf(token)     the token that writes carry; the shell sets it
//   ahead()            how far the server machine's clock is ahead of this browser's, in ms, by the dates of its answers

let csrf = null, difference = 0;
export const ahead = () => difference;
export const setCsrf = (token) => { csrf = token; };

export const account = (server, login, ...rest) =>
  ["/accounts", server, login, ...rest].map((one, at) => at ? encodeURIComponent(one) : one).join("/");

export class ApiError extends Error {
  constructor(status, error, wait = null) {
    const { code = "Unanswered", text = `the server answered with ${status}`, retryable = false, ...more } = error ?? {};
    super(text);
    Object.assign(this, { name: "ApiError", status, code, text, retryable, more, wait });
  }

  get isAway() { return [0, 502, 503, 504].includes(this.status) || (this.status === 429 && this.wait != null); }
}

export function query(params) {
  const found = new URLSearchParams();
  for (const [name, value] of params instanceof URLSearchParams ? params : Object.entries(params ?? {})) {
    if (value == null || value === "" || value === false) continue;
    for (const one of [value].flat()) found.append(name, one === true ? "1" : one);
  }
  return found.size ? `?${found}` : "";
}

// An identifier above 2^53 is no exact number here: it stays text.
const exact = (_, value, context) => typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value)
  ? context?.source ?? value : value;
const parse = (text) => text === "" ? null : /\d{16}/.test(text) ? JSON.parse(text, exact) : JSON.parse(text);

async function once(path, { signal, ...options } = {}) {
  const limit = AbortSignal.timeout(30_000);
  let answer, body;
  try {
    const ends = signal ? AbortSignal.any([signal, limit]) : limit;
    answer = await fetch(`/api${path}`, { credentials: "same-origin", cache: "no-store", ...options, signal: ends });
    body = parse(await answer.text());
  } catch (error) {
    signal?.throwIfAborted();
    if (answer && error instanceof SyntaxError) throw new ApiError(answer.status);
    const text = limit.aborted ? "no answer within 30 s" : "the page's server cannot be reached";
    throw new ApiError(0, { code: "Away", text, retryable: true });
  }
  const found = Date.parse(answer.headers.get("Date")) - Date.now();
  if (Math.abs(found - difference) > 1500) difference = found; // the header has whole seconds
  const wait = answer.headers.get("Retry-After");
  if (!answer.ok) throw new ApiError(answer.status, body?.error, wait == null ? null : Number(wait) || 1);
  return { status: answer.status, body, wait: Number(wait) || null };
}

export const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

export async function get(path, params, { signal, onWait, onAway, onBack } = {}) {
  const url = path + query(params);
  for (let away = 0, asked = url; ;) {
    try {
      const { status, body, wait } = await once(asked, { signal });
      if (away) { away = 0; onBack?.(); }
      if (status !== 202 && asked === url) return body;
      asked = status === 202 ? `/jobs/${encodeURIComponent(body.job)}` : url; // a job that is over: now there is an answer
      if (status !== 202) continue;
      onWait?.(body.done, body.of);
      await pause(Math.min(wait ?? 0.4, 0.4), signal);
    } catch (error) {
      if (asked !== url && error.status === 404) { asked = url; continue; } // a job that was over, and is forgotten
      if (!error.isAway) throw error;
      const seconds = Math.max(error.wait ?? 0, Math.min(15, 0.5 * 2 ** away++)) * (0.8 + 0.4 * Math.random());
      onAway?.(error, seconds);
      await pause(seconds, signal);
    }
  }
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json", ...(csrf && { "X-Ledger-Csrf": csrf }) };
  return (await once(path, { method: "POST", headers, body: JSON.stringify(body) })).body;
}
