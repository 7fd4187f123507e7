/** The frame of the page: the list of runs, the tabs, the stream of changes. Each tab is a file of its own. */
import {colour, dot, el, Refused} from "./dom.js";
import {cards, go, onState, readAddress, state} from "./state.js";
import {drawRuns} from "./runs.js";
import {closeSample, showSample} from "./sample.js";
import * as curves from "./curves.js";
import * as samples from "./samples.js";
import * as activity from "./activity.js";
import * as graph from "./graph.js";
import * as about from "./about.js";

const TABS = {curves: ["Curves", curves], samples: ["Samples", samples], activity: ["Activity", activity], graph: ["Stages", graph], about: ["About", about]};
const REFRESH_MS = 1200;
const $ = id => document.getElementById(id);
let shown = null, place = el("div"), waiting = new Set(), timer = null;

function drawFrame() {
  $("tabs").replaceChildren(...Object.entries(TABS).map(([name, [title]]) =>
    el("button", {role: "tab", id: `tab-${name}`, "aria-selected": String(name === state.tab), onclick: () => go({tab: name})}, title)));
  $("chosen").replaceChildren(...(state.tab === "graph" ? [] : state.runs.map((run, i) => el("span", {}, dot(colour(i)), run))));
  const stopped = state.runs.map(run => cards.get(run)).filter(card => card?.stopped || card?.problem);
  $("notices").replaceChildren(...stopped.map(card => el("div", {class: "notice", role: "alert"},
    el("b", {}, card.stopped ? `${card.id}: ${card.stopped.title} after update ${card.stopped.step}, ${card.stopped.at}` : card.id), "\n", card.stopped?.message ?? card.problem)));
}
/** Show the tab anew: another tab, or other runs. Each showing has an element of its own: an answer that comes too late is
 * drawn into the element it was asked for, which is no longer on the page. */
async function showTab() {
  drawFrame();
  shown = `${state.tab} ${state.runs.join("\n")} ${state.graph}`;
  const [, view] = TABS[state.tab] ?? TABS.curves;
  const mine = place = el("div");
  $("content").replaceChildren(mine);
  await attempt(() => view.show(mine), mine);
}
async function attempt(work, root) {
  try { await work(); } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused) && !(error instanceof TypeError && /fetch|network/i.test(error.message))) throw error;
    root.dataset.failed = "yes"; // what the tab had drawn is gone: the next change shows it anew
    root.hidden = false;
    root.replaceChildren(el("div", {class: "notice", role: "alert"}, error instanceof Refused ? error.message : "no answer from grpo view; is it still running?"));
  }
}
/** Data changed on disk: tell the tab, at most once per REFRESH_MS. */
function refresh(kinds) {
  kinds.forEach(kind => waiting.add(kind));
  if (timer !== null || !waiting.size) return;
  timer = setTimeout(async () => {
    const now = waiting;
    waiting = new Set();
    if (!document.hidden) await (place.dataset.failed ? showTab() : attempt(() => TABS[state.tab][1].changed?.(place, now), place));
    timer = null;
    if (waiting.size) refresh(new Set());
  }, REFRESH_MS);
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(new Set(["curves", "samples", "activity", "graph"])); });

function take({order, cards: changed}) {
  const kinds = new Set();
  for (const card of changed) {
    const before = cards.get(card.id);
    cards.set(card.id, card);
    const isShown = state.runs.includes(card.id) || state.graph === card.id || card.graph === state.graph;
    for (const [kind, version] of Object.entries(card.version)) if (isShown && before?.version[kind] !== version) kinds.add(kind);
    if (isShown) kinds.add("card");
  }
  const sorted = order.filter(id => cards.has(id)).map(id => [id, cards.get(id)]);
  cards.clear();
  for (const [id, card] of sorted) cards.set(id, card);
  const present = state.runs.filter(run => cards.has(run));
  if (!present.length && cards.size && !state.runs.length) choose();
  else if (present.length !== state.runs.length) go({runs: present});
  drawRuns($("runs"), $("run-filter").value);
  drawFrame();
  refresh(kinds);
}
/** Without a choice in the address: what runs now, else the first. */
function choose() {
  const runs = [...cards.values()].filter(card => card.kind === "run");
  const first = runs.find(card => card.state === "running") ?? runs.find(card => card.stage === "rl") ?? runs[0];
  const graphs = [...cards.values()].filter(card => card.kind === "graph");
  go({runs: first ? [first.id] : [], graph: graphs[0]?.id ?? "", ...(first ? {} : {tab: "graph"})});
}
function listen() {
  const stream = new EventSource("api/events");
  stream.onopen = () => { $("link").textContent = "live"; $("link").className = "link live"; };
  stream.onerror = () => { $("link").textContent = "no connection"; $("link").className = "link lost"; };
  stream.onmessage = event => take(JSON.parse(event.data));
}

onState(changes => {
  drawRuns($("runs"), $("run-filter").value);
  if (place.dataset.failed || shown !== `${state.tab} ${state.runs.join("\n")} ${state.graph}`) showTab();
  else if ("filters" in changes) attempt(() => samples.filtered(place), place);
  if ("sample" in changes) state.sample ? attempt(() => showSample($("drawer")), $("drawer")) : closeSample($("drawer"));
});
$("run-filter").addEventListener("input", () => drawRuns($("runs"), $("run-filter").value));
addEventListener("hashchange", () => { readAddress(); showTab(); });
addEventListener("keydown", event => { if (event.key === "Escape" && state.sample) go({sample: null}); });
readAddress();
showTab();
if (state.sample) attempt(() => showSample($("drawer")), $("drawer"));
listen();
