// "Something changed": one event stream for all tabs of a browser, because a server gets at most six connections of one.
// The tab that has the Web Lock `ledger-stream` opens the stream and passes on what arrives by BroadcastChannel.
//
//   start({onChange, onState, onSignedOut}) -> {stop, signOut}
//       onChange({server, login, version}) per changed account; onChange(null): a change may have been missed.
//       onState("connected" | "lost"); onSignedOut(): another tab signed out. signOut() lets the other tabs know

const NAME = "ledger-stream";
const SILENCE_MS = 20_000; // the server shows every 5 s that it is there

export function start({ onChange, onState, onSignedOut }) {
  const channel = new BroadcastChannel(NAME);
  const end = new AbortController();
  let state = null, isSource = false;

  function received(message) {
    if (message.state && message.state !== state) {
      state = message.state;
      onState(state);
    }
    if (message.changed) onChange(message.changed);
    if (message.missed) onChange(null);
    if (message.ask && isSource && state) channel.postMessage({ state });
    if (message.signedOut) onSignedOut();
  }
  channel.onmessage = ({ data }) => received(data);
  const publish = (message) => { received(message); channel.postMessage(message); };

  const open = () => new Promise((release) => { // until the tab is closed, or stops: then the lock is another tab's
    isSource = true;
    let seconds = 1, silence = 0, retry = 0, source = null;
    const again = () => {
      source.close();
      publish({ state: "lost" });
      retry = setTimeout(connect, seconds * 1000);
      seconds = Math.min(30, seconds * 2);
    };
    const alive = (changed) => {
      clearTimeout(silence);
      silence = setTimeout(again, SILENCE_MS);
      seconds = 1;
      publish({ state: "connected", changed });
    };
    function connect() {
      source = new EventSource("/api/stream");
      source.addEventListener("hello", ({ data }) => {
        alive();
        if (!JSON.parse(data).resumed) publish({ missed: true }); // between the last stream, or what was read, and this one
      });
      source.addEventListener("beat", () => alive());
      source.addEventListener("changed", ({ data }) => alive(JSON.parse(data)));
      source.onerror = () => {
        clearTimeout(silence);
        if (source.readyState === EventSource.CLOSED) again(); // it was refused
        else publish({ state: "lost" }); // it tries again by itself, and names the last event that it saw
      };
    }
    connect();
    end.signal.addEventListener("abort", () => { clearTimeout(silence); clearTimeout(retry); source.close(); release(); });
  });
  if (navigator.locks) navigator.locks.request(NAME, { signal: end.signal }, open).catch(() => null); // stopped while it waited
  else open(); // no secure context: a stream for each tab
  channel.postMessage({ ask: true });
  return { stop: () => { end.abort(); channel.close(); }, signOut: () => channel.postMessage({ signedOut: true }) };
}
