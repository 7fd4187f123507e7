/** The curves of the chosen runs, overlaid. */
import {ask, colour, dot, el, marked, short} from "./dom.js";
import {drawChart} from "./chart.js";
import {colours, runPairs, state} from "./state.js";

let charts = [], all = false, wanted = "", smoothing = 4;

export async function show(root) {
  if (!state.runs.length) { root.append(el("div", {class: "empty"}, "choose one or more runs at the left")); return; }
  const box = el("input", {type: "checkbox", id: "all-metrics", onchange: () => { all = box.checked; draw(root); }});
  box.checked = all;
  const name = el("input", {type: "search", placeholder: "metric", id: "metric-filter", value: wanted, oninput: () => { wanted = name.value; draw(root); }});
  const slide = el("input", {type: "range", min: 0, max: 20, value: smoothing, oninput: () => { smoothing = Number(slide.value); draw(root); }});
  root.append(el("div", {class: "controls"}, el("label", {}, "show", name), el("label", {}, box, "all metrics"), el("label", {}, "smooth", slide)),
    el("div", {id: "problems"}), el("div", {class: "charts"}));
  await changed(root, new Set(["curves"]));
}
export async function changed(root, kinds) {
  if (!kinds.has("curves") || !state.runs.length) return;
  const answer = await ask("curves", runPairs());
  charts = answer.charts;
  root.querySelector("#problems").replaceChildren(...answer.problems.map(text => el("div", {class: "notice warn"}, text)));
  draw(root);
}
function draw(root) {
  const place = root.querySelector(".charts");
  if (!place) return;
  const shown = charts.filter(chart => (all || chart.main || wanted) && (chart.key + chart.title).toLowerCase().includes(wanted.toLowerCase()));
  const before = new Map([...place.children].map(card => [card.dataset.key, card]));
  const cards = shown.map(chart => before.get(chart.key) ?? el("div", {class: "card", "data-key": chart.key}));
  place.replaceChildren(...cards);
  if (!shown.length) place.append(el("div", {class: "empty"}, charts.length ? "no metric of that name" : "no metrics yet"));
  const palette = colours();
  shown.forEach((chart, i) => {
    cards[i].querySelector(".tip")?.remove();
    const last = el("div", {class: "legend"}, chart.series.map(s => el("span", {"data-last": s.run}, dot(colour(palette.get(s.run) ?? 0)), short(s.y[s.y.length - 1]))));
    cards[i].replaceChildren(el("h3", {title: chart.meaning}, el("b", {}, ...marked(chart.title, wanted)), el("span", {}, chart.unit)), last);
    drawChart(cards[i], chart, palette, smoothing);
  });
}
let resizing = 0;
addEventListener("resize", () => { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(() => state.tab === "curves" && draw(document.getElementById("content"))); });
