// The message ladder: one step of the user is one item, its cause and its effects are arrows between lanes.

import { clock, h } from "/dashboard/element.js";

const MOST = 300;
const PARTY = { sip: "UE, P-CSCF, application server or other network", hss: "HSS", operator: "operator" };

const MESSAGE = /^([A-Z]+|\d{3})$/;

// Where a line belongs: [lane, direction, words]; without a lane it is a note of the S-CSCF to itself.
export function reading(line, isCause) {
  const [first, ...more] = line.split(" ");
  const rest = more.join(" ") || first;
  const hss = isCause ? "left" : "right";
  switch (first.replace(/:$/, "")) {
    case "CxAnswer": case "CxDemand": case "CxRequest":
      return ["hss", hss, rest];
    case "MAA": case "SAA": case "RTR": case "PPR": case "RAR": case "MAR": case "SAR":
      return ["hss", hss, line];
    case "Respond": case "Send": case "Reply":
      return ["sip", isCause ? "right" : "left", rest];
    case "Tell":
      return ["operator", "right", rest];
    case "Reauthenticate":
      return isCause && rest === "operator" ? ["operator", "left", line] : [null, "", line];
    case "Deregister": case "operator":
      return ["operator", "left", line];
  }
  if (line.startsWith("answer to the HSS")) return ["hss", hss, line];
  if (line.startsWith("answer to the operator")) return ["operator", "right", line];
  return MESSAGE.test(first) ? ["sip", isCause ? "right" : "left", line] : [null, "", line];
}

function rung(line, isCause) {
  const [lane, direction, words] = reading(line, isCause);
  if (!lane) return h("div", { class: "rung" }, h("div", { class: "note" }, words));
  const inward = (lane === "sip") === (direction === "right");
  const shown = words.replace(/ to (sips?|tel|urn):.*$/, "");
  const spoken = inward ? ` from ${PARTY[lane]} to S-CSCF` : ` from S-CSCF to ${PARTY[lane]}`;
  return h("div", { class: "rung" },
    h("div", { class: `arrow ${lane} ${direction}`, title: words }, shown, h("span", { class: "hidden" }, spoken)));
}

function item(observation, isNew) {
  const { at, cause, summary, refused, effects } = observation;
  return h("li", { class: isNew ? "new" : "" },
    h("div", { class: "when" }, h("span", { title: at }, clock(at)), h("span", {}, summary)),
    rung(cause, true),
    ...effects.map((effect) => rung(effect, false)),
    refused && h("p", { class: "refused" }, `${refused.status} by ${refused.clause}: ${refused.why}`));
}

export class Ladder {
  constructor() {
    this.list = h("ol", { class: "ladder", tabindex: "0", "aria-label": "Steps, newest last" });
    this.empty = h("p", { class: "soft" }, "Nothing has happened yet. What happens next appears here.");
    this.last = "";
    this.seen = 0;
    this.element = h("section", { class: "card" }, h("h2", {}, "Messages"),
      h("div", { class: "lanes", "aria-hidden": "true" },
        h("span", {}, "UE · P-CSCF · AS"), h("span", {}, "S-CSCF"), h("span", {}, "HSS"), h("span", {}, "Operator")),
      this.list, this.empty);
  }

  // History repeats what was seen before a reconnection; several steps may share one millisecond.
  history(observations) {
    const last = this.last;
    let seen = this.seen;
    for (const observation of observations) {
      if (observation.at < last) continue;
      if (observation.at === last && seen > 0) seen -= 1;
      else this.add(observation, false);
    }
  }

  add(observation, isNew = true) {
    this.seen = observation.at === this.last ? this.seen + 1 : 1;
    const list = this.list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    this.last = observation.at;
    this.empty.remove();
    list.append(item(observation, isNew));
    while (list.children.length > MOST) list.firstChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }
}
