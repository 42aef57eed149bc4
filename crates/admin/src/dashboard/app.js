// The pages: users, one user, the cluster.

import { clock, h } from "/dashboard/element.js";
import { call, follow, onToken } from "/dashboard/stream.js";
import { Ladder } from "/dashboard/ladder.js";

const main = document.getElementById("main");
const STATES = {
  registered: ["registered", "good"],
  unregistered_services: ["services while unregistered", "warn"],
  not_registered: ["not registered", ""],
};
const PHASES = { notifying: "waiting for answers to NOTIFY", awaiting: "waiting for REGISTER", challenged: "challenged" };

const badge = (text, tone = "") => h("span", { class: `badge ${tone}` }, text);
const stateBadge = (state) => badge(...(STATES[state] ?? [state]));
const path = (impi, rest = "") => `/v1/users/${encodeURIComponent(impi)}${rest}`;
const left = (at) => Math.max(0, Math.ceil((new Date(at) - Date.now()) / 1000));

function span(seconds) {
  if (seconds >= 172800) return `${Math.floor(seconds / 86400)} days`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

// Text that counts down by itself.
const until = (at, before = "") => at == null ? "–"
  : h("span", { "data-until": at, "data-before": before, title: at }, before + span(left(at)));

function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { said.textContent = ""; }, 6000);
}

// Asks in a dialog; the text typed, or null.
function ask({ title, text, label, value = "", type = "text", ok, maxlength = 200 }) {
  const dialog = document.getElementById("ask");
  const input = document.getElementById("ask-input");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = text;
  document.querySelector("#ask-label span").textContent = label;
  document.getElementById("ask-ok").textContent = ok;
  Object.assign(input, { value, type, maxLength: maxlength });
  // Enter means the first submit button, which is Cancel: it must mean OK here.
  input.onkeydown = (event) => {
    if (event.key === "Enter") { event.preventDefault(); dialog.close("ok"); }
  };
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? input.value : null), { once: true });
  });
}

let asking = null;
onToken(() => asking ??= ask({ title: "Token", text: "This node asks for a token.", label: "Token", type: "password", ok: "Use",
  maxlength: 1000 }).finally(() => { asking = null; }));

function table(caption, heads, rows, none) {
  if (!rows.length) return h("section", { class: "card" }, h("h2", {}, caption), h("p", { class: "soft" }, none));
  return h("section", { class: "card scroll" }, h("table", {}, h("caption", {}, `${caption} (${rows.length})`),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell)))))));
}

// ---- users

async function usersPage(signal) {
  const search = h("input", { type: "search", placeholder: "part of an identity", size: 30, oninput: () => later(250), maxlength: 200 });
  const state = h("select", { onchange: () => load() }, h("option", { value: "" }, "any"),
    Object.entries(STATES).map(([value, [text]]) => h("option", { value }, text)));
  const count = h("span", { class: "soft", role: "status" });
  const body = h("tbody");
  const more = h("button", { onclick: () => load(true) }, "More");
  const note = h("p", { class: "soft" });
  main.replaceChildren(
    h("div", { class: "bar" }, h("h1", { class: "grow" }, "Users"), h("label", {}, "Search", search), h("label", {}, "State", state)),
    h("section", { class: "card scroll" },
      h("table", {}, h("thead", {}, h("tr", {}, ["Private identity", "State", "Re-authentication"].map((t) => h("th", { scope: "col" }, t)),
        ["Bindings", "Subscriptions", "Sessions", "Shard"].map((t) => h("th", { scope: "col", class: "number" }, t)),
        h("th", { scope: "col" }, "Node"))), body), note),
    h("p", {}, more, " ", count));
  let cursor = null, pages = 1, timer, turn = 0;
  const later = (ms) => { clearTimeout(timer); timer = setTimeout(() => load(), ms); };
  const row = (user) => h("tr", {},
    h("td", { class: "mono" }, h("a", { href: `#/users/${encodeURIComponent(user.impi)}` }, user.impi)),
    h("td", {}, stateBadge(user.state)),
    h("td", {}, user.reauthentication ? badge(PHASES[user.reauthentication] ?? user.reauthentication, "warn") : "–"),
    [user.bindings, user.subscriptions, user.sessions, user.shard].map((n) => h("td", { class: "number" }, String(n))),
    h("td", {}, user.node));
  async function load(further = false) {
    clearTimeout(timer);
    const mine = ++turn;
    if (further) pages += 1;
    const users = [];
    cursor = null;
    for (let page = 0; page < pages; page += 1) {
      const query = new URLSearchParams({ limit: "100" });
      if (search.value.trim()) query.set("q", search.value.trim());
      if (state.value) query.set("state", state.value);
      if (cursor) query.set("cursor", cursor);
      const { ok, body: answer } = await call(`/v1/users?${query}`);
      if (signal.aborted || mine !== turn) return;
      if (!ok) { note.textContent = answer.detail ?? "failed"; break; }
      users.push(...answer.users);
      cursor = answer.next;
      if (!cursor) break;
      note.textContent = "";
    }
    const focused = document.activeElement?.closest("tbody") ? document.activeElement.getAttribute("href") : null;
    body.replaceChildren(...users.map(row));
    if (focused) body.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    if (users.length) note.textContent = "";
    else if (!note.textContent) note.textContent = search.value || state.value ? "Nobody matches." : "Nobody has registered yet.";
    more.hidden = !cursor;
    count.textContent = users.length ? `${users.length}${cursor ? " and more" : ""} shown` : "";
    if (!document.hidden || mine === 1) later(3000);
    else document.addEventListener("visibilitychange", () => { if (!signal.aborted) load(); }, { once: true });
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
  }, { signal });
  await load();
}

// ---- one user

function reauthenticationCard(pending) {
  if (!pending) return null;
  const whole = (new Date(pending.deadline) - new Date(pending.since)) / 1000;
  return h("section", { class: "card pending", "aria-label": "Re-authentication" }, h("h2", {}, "Re-authentication pending"),
    h("div", { class: "clock" }, until(pending.deadline)),
    h("progress", { max: whole, value: left(pending.deadline), "data-deadline": pending.deadline, "aria-label": "Time left" }),
    h("p", {}, badge(PHASES[pending.phase] ?? pending.phase, "warn"), ` asked by ${pending.by}`, pending.reason && `: ${pending.reason}`),
    pending.notified.length ? h("ul", {}, pending.notified.map(({ subscription, status }) => h("li", {},
      `NOTIFY on ${subscription}: `, status == null ? "awaiting its answer" : status === 0 ? "no answer" : String(status))))
      : h("p", { class: "soft" }, "Nobody is subscribed: no NOTIFY could be sent."));
}

function notify(last) {
  if (!last) return "–";
  return `${clock(last.at)} ${last.status == null ? "…" : last.status === 0 ? "no answer" : last.status}`;
}

function answered({ what, at, status, answered_at }) {
  if (status == null) return what === "BYE" || what === "CANCEL" ? " …" : "";
  if (status === 0) return " → no answer";
  return answered_at ? ` → ${status} after ${new Date(answered_at) - new Date(at)} ms` : ` → ${status}`;
}

function details(view) {
  const counters = view.authentication;
  const mono = (text) => h("span", { class: "mono" }, text);
  return [
    reauthenticationCard(view.reauthentication),
    h("section", { class: "card" }, h("h2", {}, "Authentication"), h("dl", {}, [
      ["Scheme", counters.scheme ?? "–"],
      ["Last success", counters.last_success_at ? clock(counters.last_success_at) : "never"],
      ["Challenges outstanding", counters.challenges_outstanding],
      ["Wrong answers", counters.wrong_answers],
      ["Resynchronisations", counters.resyncs],
      ["Acts by itself", view.next_deadline ? until(view.next_deadline, "in ") : "–"],
    ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value instanceof Node ? value : String(value)))))),
    table("Bindings", ["Contact", "Path", "Expires in"],
      view.bindings.map((b) => [mono(b.contact), mono(b.path.join(" ") || "–"), until(b.expires_at)]), "No contact is bound."),
    table("Subscriptions", ["Subscriber", "Event", "Version", "Last NOTIFY", "Expires in"],
      view.subscriptions.map((s) => [[mono(s.subscriber), " ", badge(s.kind.replace("_", "-"))], s.event, String(s.version ?? "–"),
        notify(s.last_notify), until(s.expires_at)]), "Nobody is subscribed."),
    view.sessions.length > 0 && table("Sessions", ["Peer", "Role", "State", "Since"],
      view.sessions.map((s) => [mono(s.peer), s.role, s.state, clock(s.since)]), ""),
    view.releases.length > 0 && table("Released sessions", ["When", "Why", "Told"],
      view.releases.toReversed().map((r) => [clock(r.at), r.cause.replaceAll("_", " "),
        h("ul", {}, r.told.map((t) => h("li", {}, `${t.side}: ${t.what}`, answered(t))))]), ""),
    view.third_party.length > 0 && table("Application servers told", ["Server", "Identity", "State", "Answer"],
      view.third_party.map((t) => [mono(t.application_server), mono(t.impu), t.state, String(t.status ?? "…")]), ""),
    table("Public identities", ["Identity", "State", ""],
      view.identities.map((i) => [mono(i.impu), stateBadge(i.state), [i.default && badge("default"), i.barred && badge("barred", "bad")]]),
      "None is known."),
  ].filter(Boolean);
}

async function userPage(impi, signal) {
  const state = h("span"), place = h("span", { class: "soft" }), live = h("span", { class: "soft", role: "status" });
  const left = h("div"), ladder = new Ladder();
  const period = h("input", { type: "number", min: 1, max: 86400, value: 60 });
  const again = h("button", { class: "strong", onclick: reauthenticate }, "Re-authenticate");
  const end = h("button", { class: "danger", onclick: deregister }, "Deregister…");
  main.replaceChildren(
    h("div", { class: "bar" }, h("div", { class: "grow" }, h("h1", {}, impi), state, " ", place, " ", live),
      h("label", {}, "Within, seconds", period), again, end),
    h("div", { class: "columns" }, left, h("div", {}, ladder.element)));
  document.title = `${impi} – rollcall`;

  async function reauthenticate() {
    const seconds = Number(period.value);
    const json = Number.isInteger(seconds) && seconds > 0 ? { period_s: seconds } : {};
    const { ok, body } = await call(path(impi, "/reauthenticate"), { method: "POST", json });
    say(ok ? `Asked to re-authenticate by ${clock(body.deadline)}` : body.detail);
  }

  async function deregister() {
    const reason = await ask({ title: `Deregister ${impi}?`, text: "All its bindings and subscriptions end.", label: "Reason", ok: "Deregister" });
    if (reason == null) return;
    const { ok, body } = await call(path(impi, "/deregister"), { method: "POST", json: reason ? { reason } : {} });
    say(ok ? "Deregistration has begun" : body.detail);
  }

  let shown = null;
  function show(view) {
    if (shown?.state && shown.state !== view.state) say((STATES[view.state] ?? [view.state])[0]);
    shown = view;
    state.replaceChildren(stateBadge(view.state));
    place.textContent = `shard ${view.shard} on ${view.node}`;
    left.replaceChildren(...details(view));
    again.disabled = view.state !== "registered" || view.reauthentication != null;
    end.disabled = view.state === "not_registered";
  }

  let wait = 500;
  while (!signal.aborted) {
    const status = await follow(path(impi, "/watch"), (name, data) => {
      if (signal.aborted) return;
      if (name === "open") { live.textContent = "● live"; wait = 500; }
      if (name === "view") { show(data); ladder.history(data.recent); }
      if (name === "observation") { ladder.add(data); if (data.view) show(data.view); }
    }, signal);
    if (signal.aborted) return;
    if (status === 404) {
      live.textContent = "";
      if (shown) show({ ...shown, state: "not_registered", bindings: [], subscriptions: [], sessions: [], third_party: [], reauthentication: null, next_deadline: null });
      else {
        state.replaceChildren(badge("nothing is known of it yet"));
        again.disabled = end.disabled = true;
      }
      wait = 1500;
    } else {
      live.textContent = "connection lost, trying again";
      wait = Math.min(wait * 2, 8000);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

// ---- cluster

async function clusterPage(signal) {
  main.replaceChildren(h("h1", {}, "Cluster"), h("p", { class: "soft" }, "…"));
  while (!signal.aborted) {
    const { ok, body } = await call("/v1/cluster");
    if (signal.aborted) return;
    if (ok) {
      main.replaceChildren(h("div", { class: "bar" }, h("h1", {}, "Cluster")),
        table("Nodes", ["Node", "Address", "State", "Shards", "Users"], body.nodes.map((n) =>
          [n.id, h("span", { class: "mono" }, n.address), badge(n.state, n.state === "serving" ? "good" : "warn"), String(n.shards), String(n.users)]), "No node."));
    } else main.replaceChildren(h("h1", {}, "Cluster"), h("p", {}, body.detail ?? "failed"));
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}

// ---- which page

let page = new AbortController();
function route() {
  page.abort();
  page = new AbortController();
  document.title = "rollcall";
  const [, first, second] = location.hash.split("/");
  if (first === "users" && second) userPage(decodeURIComponent(second), page.signal);
  else if (first === "cluster") clusterPage(page.signal);
  else usersPage(page.signal);
}
addEventListener("hashchange", () => { if (location.hash.startsWith("#/") || !location.hash) { route(); main.focus(); } });

setInterval(() => {
  for (const element of document.querySelectorAll("[data-until]")) {
    const text = element.dataset.before + span(left(element.dataset.until));
    if (element.textContent !== text) element.textContent = text;
  }
  for (const bar of document.querySelectorAll("progress[data-deadline]")) bar.value = left(bar.dataset.deadline);
}, 250);

async function readiness() {
  const { ok, body } = await call("/readyz");
  document.getElementById("ready").replaceChildren(ok ? badge("ready", "good") : badge(body.detail ?? "not ready", "bad"));
  setTimeout(readiness, 5000);
}

readiness();
route();
