/** What reproduces a run: config, manifest, summary. */
import {ask, el} from "./dom.js";
import {state} from "./state.js";

export async function show(root) {
  if (!state.runs.length) { root.append(el("div", {class: "empty"}, "choose one or more runs at the left")); return; }
  for (const run of state.runs) {
    const found = await ask("about", [["run", run]]);
    root.append(el("h2", {}, run), el("p", {class: "small"}, found.path), ...["stopped", "summary", "config", "manifest"].filter(name => Object.keys(found[name]).length).map(name =>
      el("details", {open: name === "summary" || name === "stopped"}, el("summary", {}, `${name}.json`), el("pre", {}, JSON.stringify(found[name], null, 2)))),
      found.log ? el("details", {}, el("summary", {}, "end of the log"), el("pre", {class: "log"}, found.log)) : "");
  }
}
