/** One sample's history, in a drawer: sampler, policy version, rewards with reasons, advantage, its group, its prompt's course. */
import {ask, el, question, short, text} from "./dom.js";
import {drawChart} from "./chart.js";
import {filter, go, state} from "./state.js";

export function closeSample(drawer) { drawer.hidden = true; drawer.replaceChildren(); }

export async function showSample(drawer) {
  const {run, id} = state.sample;
  const found = await ask("sample", [["run", run], ["id", id]]);
  if (state.sample?.id !== id || state.sample?.run !== run) return;
  const s = found.sample;
  drawer.hidden = false;
  drawer.replaceChildren(
    el("header", {}, el("div", {}, el("h2", {}, `${run} · ${id}`), el("div", {class: "small"}, `${{train: "training", eval: "held-out", sample: "sampled"}[found.stage]} sample ${s.index + 1} of ${found.group.length}, after update ${s.step}`)),
      el("button", {type: "button", id: "close", "aria-label": "close", onclick: () => go({sample: null})}, "✕")),
    part("Prompt", el("div", {class: "block"}, text(s.prompt))),
    part("Completion", el("div", {class: "block", id: "completion"}, text(s.completion))),
    part("How it was sampled", facts([...found.sampler, ["policy version", version(s)], ["finished by", {stop: "stop token", length: "length limit", abort: "abort"}[s.finish_reason] ?? s.finish_reason], ["tokens", s.tokens]])),
    part("Rewards", rewardTable(found)),
    part("Advantage", el("p", {id: "advantage"}, explained(s, found.group))),
    part(`Its group: ${found.group.length} samples of the prompt`, groupTable(found.group, s.id, run)),
    part("This prompt in the run", course(found.course), el("button", {type: "button", id: "same-prompt", onclick: () => { go({sample: null, tab: "samples"}); filter({prompt: s.prompt_id, text: "", stage: ""}); }}, "all samples of this prompt")),
    part("Data", facts([["reference answer", s.answer], ["source", s.source], ["kind", s.kind], ["language", s.language], ["prompt id", s.prompt_id], ...Object.entries(found.kept)])));
  drawer.scrollTop = 0;
  const card = drawer.querySelector(".card");
  if (card) drawChart(card, card.chart, new Map([["mean", 0], ["best", 2]]), 0);
  drawer.querySelector("#close").focus();
}
const part = (title, ...inside) => el("section", {}, el("h3", {}, title), ...inside);
const facts = pairs => el("div", {class: "facts"}, ...pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) =>
  el("div", {"data-fact": name}, el("span", {class: "small"}, name), el("b", {}, typeof value === "number" && !Number.isInteger(value) ? short(value) : String(value)))));
function version(s) {
  if (s.version_first === null) return null;
  return s.version_first === s.version_last ? String(s.version_first) : `${s.version_first} to ${s.version_last}`;
}
function rewardTable(found) {
  const s = found.sample;
  const rows = found.rewards.map(r => el("tr", {"data-reward": r.name}, el("td", {}, r.name), el("td", {class: "number"}, short(r.value)), el("td", {class: "number"}, r.weight === null ? "–" : `× ${short(r.weight)}`), el("td", {class: "number"}, short(r.part)), el("td", {}, r.reason)));
  const named = found.rewards.some(r => r.reason);
  return el("div", {class: "scroll"}, el("table", {}, el("thead", {}, el("tr", {}, ...["reward", "value", "weight", "in the total", "reason"].map((name, i) => el("th", {class: i && i < 4 ? "number" : ""}, name)))),
    el("tbody", {}, ...rows, el("tr", {}, el("td", {}, el("b", {}, "total")), el("td"), el("td"), el("td", {class: "number"}, el("b", {}, short(s.total))),
      el("td", {}, el("span", {class: `badge ${s.verdict === "ok" ? "good" : "bad"}`}, s.verdict ?? "–"), " ", named ? "" : s.reason ?? "")))));
}
function explained(s, group) {
  const totals = group.map(other => other.total).filter(value => value !== null);
  const mean = totals.reduce((a, b) => a + b, 0) / totals.length, spread = Math.sqrt(totals.reduce((a, b) => a + (b - mean) ** 2, 0) / totals.length);
  const about = totals.length ? ` The group's rewards: mean ${short(mean)}, standard deviation ${short(spread)}, ${totals.length} of ${group.length} with a verdict.` : "";
  if (s.advantage === null) return `None: ${s.discarded ? "dynamic sampling left the group out" : s.stage === "rl" ? "this sample did not train" : "it is not for training"}.${about}`;
  return `${short(s.advantage)} ${s.advantage > 0 ? "(more of this)" : s.advantage < 0 ? "(less of this)" : "(taught nothing)"}.${about}`;
}
function groupTable(group, current, run) {
  const row = other => el("tr", {class: other.id === current ? "row this" : "row", tabindex: 0, onclick: () => go({sample: {run, id: other.id}}), onkeydown: event => event.key === "Enter" && go({sample: {run, id: other.id}})},
    el("td", {}, String(other.index + 1)), el("td", {class: "number"}, short(other.total)), el("td", {class: "number"}, short(other.advantage)), el("td", {class: "number"}, short(other.tokens)),
    el("td", {}, [other.verdict, other.finish_reason === "length" ? "truncated" : ""].filter(Boolean).join(", ")));
  return el("div", {class: "scroll"}, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "sample"), ...["reward", "advantage", "tokens"].map(name => el("th", {class: "number"}, name)), el("th", {}, "verdict"))), el("tbody", {}, ...group.map(row))));
}
function course(moments) {
  const judged = moments.filter(m => m.mean !== null);
  if (judged.length < 2) return el("p", {class: "small"}, `seen ${moments.length} time${moments.length === 1 ? "" : "s"}, ${moments.reduce((sum, m) => sum + m.samples, 0)} samples`);
  const card = el("div", {class: "card"}, el("h3", {}, "Reward of this prompt", el("span", {}, "mean and best of its samples, by update")));
  const at = new Map(judged.map(m => [m.step, m])), x = [...at.keys()];
  card.chart = {title: "reward of this prompt", unit: "", series: ["mean", "best"].map(run => ({run, x, y: x.map(step => at.get(step)[run])}))};
  return card;
}
