/** The stages of a graph: its drawing, and what is known of a stage. */
import {ask, duration, el, svg} from "./dom.js";
import {cards, go, state} from "./state.js";

let opened = "";

export async function show(root) {
  const graphs = [...cards.values()].filter(card => card.kind === "graph");
  const known = state.graph || graphs[0]?.id;
  if (!known) { root.append(el("div", {class: "empty"}, "no graph here: `grpo run` leaves a graph.json in its run directory")); return; }
  await draw(root, known);
}
export async function changed(root, kinds) {
  if (!["graph", "curves", "card"].some(kind => kinds.has(kind))) return;
  const known = state.graph || [...cards.values()].find(card => card.kind === "graph")?.id;
  if (known) await draw(root, known);
}
async function draw(root, id) {
  const plan = await ask("graph", [["graph", id]]);
  const detail = el("div", {id: "stage"});
  root.replaceChildren(el("div", {class: "card"}, el("h3", {}, plan.name ?? id, el("span", {}, `seed ${plan.seed ?? "–"} · ${plan.stages.filter(s => ["done", "kept"].includes(s.status)).length} of ${plan.stages.length} stages done`)),
    el("div", {class: "small"}, "a stage stands below what it needs; click one"), picture(plan, stage => { opened = stage.name; open(detail, stage); })), detail);
  const current = plan.stages.find(stage => stage.name === opened) ?? plan.stages.find(stage => ["running", "failed"].includes(stage.status));
  if (current) open(detail, current);
}
function picture(plan, choose) {
  const [width, height] = plan.box, drawing = svg(null, "svg", {class: "graph", viewBox: `-4 -4 ${plan.width + 8} ${plan.height + 8}`, width: plan.width + 8, role: "img", "aria-label": "stages and what they need"});
  for (const points of plan.edges) {
    let d = `M${points[0]}`;
    points.slice(1).forEach(([x, y], i) => {
      const [fromX, fromY] = points[i], half = (fromY + y) / 2;
      d += fromX === x ? `L${x},${y}` : `C${fromX},${half} ${x},${half} ${x},${y}`;
    });
    svg(drawing, "path", {class: "edge", d});
  }
  for (const stage of plan.stages) {
    const box = svg(drawing, "g", {class: stage.status.replace("left ", ""), tabindex: 0, role: "button", "data-stage": stage.name, onclick: () => choose(stage), onkeydown: event => event.key === "Enter" && choose(stage)});
    svg(box, "rect", {x: stage.x, y: stage.y, width, height, rx: 8});
    const lines = [["name", 16, stage.name], ["", 30, `grpo ${stage.command}${stage.seconds ? ` · ${duration(stage.seconds)}` : ""}`], ["", 43, stage.held ? `gate shut: ${stage.held}` : ["done", "kept"].includes(stage.status) ? stage.figure || stage.status : stage.status]];
    for (const [style, down, content] of lines) svg(box, "text", {class: style, x: stage.x + 10, y: stage.y + down}, content.length > 31 ? `${content.slice(0, 30)}…` : content);
    svg(box, "title", {}, `${stage.name}: ${stage.status}`);
  }
  return el("div", {class: "scroll"}, drawing);
}
function open(detail, stage) {
  const buttons = stage.run ? ["curves", "samples", "activity", "about"].map(tab => el("button", {type: "button", onclick: () => go({runs: [stage.run], tab})}, tab)) : [];
  detail.replaceChildren(el("h2", {}, stage.name), el("div", {class: "facts"}, ...[["command", `grpo ${stage.command}`], ["status", stage.status], ["time", stage.seconds ? duration(stage.seconds) : ""], ["figure", stage.figure], ["needs", stage.parents.join(", ")], ["peak memory", stage.peak_mib ? `${Math.round(stage.peak_mib).toLocaleString("en")} MiB` : ""], ["gate shut", stage.held]]
    .filter(([, value]) => value).map(([name, value]) => el("div", {}, el("span", {class: "small"}, name), el("b", {}, value)))), el("div", {class: "pager"}, ...buttons), stage.log ? el("pre", {class: "log"}, stage.log) : "");
}
