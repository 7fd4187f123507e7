/** The list of runs and graphs at the side. */
import {colour, duration, el, short} from "./dom.js";
import {cards, colours, go, state} from "./state.js";

const STATES = {running: "running", finished: "done", stopped: "stopped", incomplete: "not running"};

export function drawRuns(root, wanted) {
  const palette = colours(), focused = document.activeElement?.dataset?.id;
  const shown = [...cards.values()].filter(card => card.id.toLowerCase().includes(wanted.toLowerCase()));
  root.replaceChildren(...shown.map(card => entry(card, palette)));
  if (!shown.length) root.append(el("div", {class: "empty"}, cards.size ? "no run of that name" : "no runs yet"));
  if (focused) [...root.children].find(node => node.dataset.id === focused)?.focus();
}

function entry(card, palette) {
  const isGraph = card.kind === "graph", chosen = isGraph ? state.tab === "graph" && state.graph === card.id : palette.has(card.id);
  const node = el("button", {class: `run ${card.state} ${card.graph ? "stage" : ""}`, "data-id": card.id, "aria-pressed": String(chosen), title: card.path, onclick: () => toggle(card)},
    el("span", {class: "swatch"}), el("span", {class: "name"}, card.id), el("span", {class: "state"}, STATES[card.state]), el("span", {class: "detail"}, detail(card)));
  if (chosen) Object.assign(node.firstChild.style, {background: isGraph ? "var(--c0)" : colour(palette.get(card.id)), borderColor: "transparent"});
  if (card.steps && card.step !== null && card.state !== "finished")
    node.append(el("span", {class: "bar"}, el("i", {style: {width: `${Math.min(100, 100 * card.step / card.steps)}%`}})));
  return node;
}
function detail(card) {
  if (card.kind === "graph") return `graph · ${card.step} of ${card.steps} stages`;
  const parts = [card.stage];
  if (card.step !== null && card.step !== undefined) parts.push(card.steps && card.state !== "finished" ? `${card.step}/${card.steps}` : `${card.step} updates`);
  if (card.pass1 !== null) parts.push(`pass@1 ${short(card.pass1)}`);
  else if (card.figures["reward/total"] !== undefined) parts.push(`reward ${short(card.figures["reward/total"])}`);
  else if (card.figures.loss !== undefined) parts.push(`loss ${short(card.figures.loss)}`);
  if (card.part) parts.push(`${card.part} ${duration(Math.max(0, card.part_s))}`);
  return parts.join(" · ");
}
function toggle(card) {
  if (card.kind === "graph") return go({graph: card.id, tab: "graph"});
  const runs = state.runs.includes(card.id) ? state.runs.filter(run => run !== card.id) : [...state.runs, card.id];
  go({runs, tab: state.tab === "graph" ? "curves" : state.tab});
}
