/** The samples of the chosen runs: search, filters, order, pages. */
import {ask, colour, dot, el, marked, question, short, text} from "./dom.js";
import {colours, filter, go, runPairs, state} from "./state.js";

const LIMIT = 25;
const YES_NO = [["", "any"], ["yes", "yes"], ["no", "no"]];
const COLUMNS = [["step", "step"], ["total", "reward"], ["advantage", "advantage"], ["tokens", "tokens"]];
let components = [], asking = null, typing = null;

export async function show(root) {
  if (!state.runs.length) { root.append(el("div", {class: "empty"}, "choose one or more runs at the left")); return; }
  root.append(el("form", {class: "controls", id: "filters", onsubmit: event => event.preventDefault()}), el("div", {id: "problems"}), el("div", {id: "list"}));
  drawFilters(root);
  await load(root);
}
export async function changed(root, kinds) {
  // New samples do not pull the page away from a reader who turned to another one.
  if (kinds.has("samples") && !state.filters.offset) await load(root);
}
export async function filtered(root) {
  if (!root.querySelector("#filters")) return;
  for (const input of root.querySelectorAll("#filters [name]")) if (input !== document.activeElement) input.value = state.filters[input.name] ?? "";
  await load(root);
}

function drawFilters(root) {
  const typed = document.activeElement?.form?.id === "filters" ? {name: document.activeElement.name, value: document.activeElement.value} : null;
  const value = name => state.filters[name] ?? "";
  const later = (name, wait) => event => { clearTimeout(typing); typing = setTimeout(() => filter({[name]: event.target.value}), wait); };
  const select = (name, options) => {
    const node = el("select", {name, onchange: event => filter({[name]: event.target.value})}, ...options.map(([v, title]) => el("option", {value: v}, title)));
    node.value = value(name);
    return node;
  };
  const range = name => el("span", {class: "range"}, ...["min", "max"].map(side =>
    el("input", {name: `${name}_${side}`, inputmode: "decimal", placeholder: side, value: value(`${name}_${side}`), "aria-label": `${name} ${side}`, oninput: later(`${name}_${side}`, 350)})));
  root.querySelector("#filters").replaceChildren(
    el("label", {class: "wide"}, "search", el("input", {name: "text", type: "search", value: value("text"), placeholder: "text of prompt or completion", oninput: later("text", 350)})),
    el("label", {}, "in", select("field", [["", "both"], ["completion", "completion"], ["prompt", "prompt"], ["answer", "answer"], ["reason", "reason"]])),
    el("label", {}, "case", select("case", [["", "ignored"], ["yes", "exact"]])),
    el("label", {}, "from", select("stage", [["", "all"], ["train", "training"], ["eval", "held out"], ["sample", "grpo sample"]])),
    el("label", {}, "step", range("step")),
    el("label", {}, select("reward", [["", "reward"], ...components.map(name => [name, name])]), range("reward")),
    el("label", {}, "tokens", range("tokens")),
    el("label", {}, "advantage", range("advantage")),
    el("label", {}, "truncated", select("truncated", YES_NO)),
    el("label", {}, "verdict", select("verdict", [["", "any"], ["ok", "ok"], ["failed", "any but ok"], ["abstain", "abstain"], ["timeout", "timeout"], ["error", "error"]])),
    el("label", {}, "discarded", select("discarded", YES_NO)),
    el("label", {}, "prompt", el("input", {name: "prompt", value: value("prompt"), size: 17, placeholder: "id", oninput: later("prompt", 350)})),
    el("button", {type: "button", id: "clear", onclick: () => { go({filters: {}}); drawFilters(root); }}, "clear"));
  if (typed?.name) { // whoever types while the form is drawn anew goes on typing
    const input = root.querySelector(`#filters [name="${typed.name}"]`);
    input.value = typed.value;
    input.focus();
  }
}

async function load(root) {
  asking?.abort();
  asking = new AbortController();
  const signal = asking.signal, pairs = [...runPairs(), ...Object.entries(state.filters), ["limit", LIMIT]];
  const list = root.querySelector("#list");
  list.setAttribute("aria-busy", "true");
  const answer = await ask("samples", pairs, signal);
  if (answer.components.join() !== components.join()) { components = answer.components; drawFilters(root); }
  root.querySelector("#problems").replaceChildren(...answer.problems.map(problem => el("div", {class: "notice warn"}, problem)));
  list.replaceChildren(pager(answer), answer.rows.length ? table(answer) : el("div", {class: "empty"}, answer.samples ? "no sample passes the filters" : "no samples yet"));
  list.removeAttribute("aria-busy");
  if (!answer.whole) {
    const total = await ask("count", pairs, signal);
    answer.found = total.found;
    answer.whole = true;
    list.firstChild.replaceWith(pager(answer));
  }
}
function pager(answer) {
  const at = Number(state.filters.offset ?? 0), end = at + answer.rows.length;
  const move = by => () => filter({offset: String(Math.max(0, at + by))});
  const amount = answer.whole ? answer.found.toLocaleString("en") : `at least ${answer.found.toLocaleString("en")}`;
  return el("div", {class: "pager"}, el("button", {type: "button", disabled: at === 0, onclick: move(-LIMIT)}, "‹ back"),
    el("button", {type: "button", disabled: end >= answer.found, onclick: move(LIMIT)}, "next ›"),
    el("span", {class: "small", id: "found", "data-whole": String(answer.whole)}, answer.rows.length ? `${(at + 1).toLocaleString("en")}–${end.toLocaleString("en")} of ${amount} found, ${answer.samples.toLocaleString("en")} samples` : `${answer.samples.toLocaleString("en")} samples`));
}
function table(answer) {
  const sortable = [...COLUMNS, ...components.map(name => [name, name])];
  const head = ([column, title]) => {
    const on = state.filters.sort === column, down = state.filters.descending !== "no";
    return el("th", {class: "number", "aria-sort": on ? (down ? "descending" : "ascending") : null},
      el("button", {type: "button", "data-sort": column, onclick: () => filter(on && !down ? {sort: "", descending: ""} : {sort: column, descending: on ? "no" : ""})}, title, on ? (down ? " ↓" : " ↑") : ""));
  };
  return el("div", {class: "scroll"}, el("table", {class: "samples"}, el("thead", {}, el("tr", {}, state.runs.length > 1 ? el("th", {}, "run") : "", ...sortable.map(head), el("th", {}, "sample"))),
    el("tbody", {}, ...answer.rows.map(line))));
}
function line(row) {
  const {text: search = "", case: caseful} = state.filters, open = () => go({sample: {run: row.run, id: row.id}});
  const remarks = [
    row.stage === "eval" ? el("span", {class: "badge"}, "held out") : "",
    row.finish_reason === "length" ? el("span", {class: "badge warn"}, "truncated") : "",
    row.verdict && row.verdict !== "ok" ? el("span", {class: "badge bad"}, row.verdict) : "",
    row.discarded ? el("span", {class: "badge warn"}, "discarded") : ""];
  return el("tr", {class: "row", tabindex: 0, "data-sample": row.id, onclick: open, onkeydown: event => event.key === "Enter" && open()},
    state.runs.length > 1 ? el("td", {class: "of"}, dot(colour(colours().get(row.run) ?? 0)), " ", row.run) : "",
    ...COLUMNS.map(([name]) => el("td", {class: "number"}, short(row[name]))),
    ...components.map(name => el("td", {class: "number"}, short(row.components[name.replace(/^reward\//, "")] ?? row.components[name]))),
    el("td", {class: "texts"}, el("div", {class: "question text clip"}, ...marked(question(row), search, caseful === "yes")),
      el("div", {class: "clip"}, text(row.completion, search, caseful === "yes")), el("div", {}, ...remarks, row.reason ? el("span", {class: "small"}, " ", ...marked(row.reason, search, caseful === "yes")) : "")));
}
