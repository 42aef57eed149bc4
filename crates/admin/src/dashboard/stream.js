// The interface as the page uses it: JSON calls, and one user's events read from a stream.

let askToken = async () => null;
let token = sessionStorage.getItem("token");

export function onToken(ask) { askToken = ask; }

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, cache: "no-store" });
  if (answer.status !== 401) return answer;
  const given = await askToken();
  if (!given) return answer;
  token = given;
  sessionStorage.setItem("token", given);
  return send(path, options);
}

// { ok, status, body }: body is the JSON, of a problem too.
export async function call(path, { method = "GET", json } = {}) {
  const options = { method };
  if (json !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(json);
  }
  try {
    const answer = await send(path, options);
    const body = await answer.json().catch(() => ({}));
    return { ok: answer.ok, status: answer.status, body };
  } catch {
    return { ok: false, status: 0, body: { detail: "the node does not answer" } };
  }
}

// Follows a stream of events until it ends; returns the status it began with, 0 when the node does not answer.
export async function follow(path, on, signal) {
  let answer;
  try {
    answer = await send(path, { headers: { Accept: "text/event-stream" }, signal });
  } catch {
    return 0;
  }
  if (!answer.ok) return answer.status;
  on("open", null);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      rest += value;
      for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) deliver(rest.slice(0, end), on);
    }
  } catch {
    // The connection broke: the caller asks again.
  }
  return answer.status;
}

function deliver(block, on) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  if (data.length) on(name, JSON.parse(data.join("\n")));
}
