/** What is shown: runs, tab and filters, kept in the address so that a page can be reloaded and shared. */
export const FILTERS = ["text", "field", "case", "stage", "step_min", "step_max", "reward", "reward_min", "reward_max", "tokens_min", "tokens_max",
  "advantage_min", "advantage_max", "truncated", "verdict", "discarded", "prompt", "sort", "descending", "offset"];

export const state = {tab: "curves", runs: [], graph: "", filters: {}, sample: null};
/** Cards of the server, by id, in its order. */
export const cards = new Map();
const listeners = new Set();
export const onState = listener => listeners.add(listener);

export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  state.tab = given.get("tab") || "curves";
  state.runs = given.getAll("run");
  state.graph = given.get("graph") || "";
  state.sample = given.get("sample") ? {run: given.get("in"), id: given.get("sample")} : null;
  state.filters = Object.fromEntries(FILTERS.filter(name => given.get(name)).map(name => [name, given.get(name)]));
}
/** Change what is shown; the address follows. */
export function go(changes) {
  Object.assign(state, changes);
  const pairs = [["tab", state.tab], ...state.runs.map(run => ["run", run])];
  if (state.graph) pairs.push(["graph", state.graph]);
  if (state.sample) pairs.push(["in", state.sample.run], ["sample", state.sample.id]);
  for (const [name, value] of Object.entries(state.filters)) if (value !== "") pairs.push([name, value]);
  history.replaceState(null, "", `#${new URLSearchParams(pairs)}`);
  listeners.forEach(listener => listener(changes));
}
/** Filters changed; the page of samples begins again unless that is what changed. */
export function filter(changes) {
  const merged = {...state.filters, offset: "", ...changes};
  go({filters: Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ""))});
}
export const colours = () => new Map(state.runs.map((run, i) => [run, i]));
export const runPairs = () => state.runs.map(run => ["run", run]);
