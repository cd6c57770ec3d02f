// The routes of batches as a graph: which stage follows which, in which column each stands. Pure.

export const IN = " in";
export const OUT = " out";

// Routes are [{ops: ["resize", "blur"], images: 12}]. Returns the columns of names and the edges between them.
export function graphOf(names, routes) {
  const known = routes.map(({ ops, images }) => ({ ops: ops.filter((op) => names.includes(op)), images })).filter(({ ops }) => ops.length);
  const order = ordered(names, known);
  const place = new Map(order.map((name, index) => [name, index]));
  const edges = edgesOf(known);
  const column = new Map(order.map((name) => [name, 0]));
  for (const name of order) {
    for (const edge of edges.values()) {
      if (edge.to === name && edge.from !== IN && place.get(edge.from) < place.get(name)) {
        column.set(name, Math.max(column.get(name), column.get(edge.from) + 1));
      }
    }
  }
  const used = new Set(known.flatMap(({ ops }) => ops));
  let last = Math.max(-1, ...order.filter((name) => used.has(name)).map((name) => column.get(name)));
  for (const name of order) if (!used.has(name)) column.set(name, ++last); // nothing leads there: behind all others
  return { order, column, edges: [...edges.values()], used };
}

// By the mean place that a stage has in the routes; what no route names keeps its place behind them.
function ordered(names, routes) {
  const mean = (name) => {
    let [sum, count] = [0, 0];
    for (const { ops } of routes) {
      ops.forEach((op, index) => {
        if (op !== name) return;
        sum += (index + 0.5) / ops.length;
        count += 1;
      });
    }
    return count ? sum / count : 2;
  };
  return names.map((name, index) => ({ name, mean: mean(name), index }))
    .sort((a, b) => a.mean - b.mean || a.index - b.index).map(({ name }) => name);
}

function edgesOf(routes) {
  const edges = new Map();
  for (const { ops, images } of routes) {
    const way = [IN, ...ops, OUT];
    way.slice(1).forEach((to, index) => {
      const from = way[index];
      if (from === to) return;
      const key = `${from}>${to}`;
      const edge = edges.get(key) ?? { from, to, images: 0 };
      edge.images += images;
      edges.set(key, edge);
    });
  }
  return edges;
}

// The stage that all others wait for: without workers, or with the longest way to an empty queue. Null: nobody waits.
export function bottleneckOf(stages) {
  let [found, longest] = [null, 2]; // seconds: shorter is no wait
  for (const stage of stages) {
    if (!backlogOf(stage)) continue;
    const wait = stage.consumers === 0 ? Infinity : stage.drain_s ?? 0;
    if (wait > longest) [found, longest] = [stage.op, wait];
  }
  return found;
}

export function backlogOf(stage) {
  return stage.ready === null ? null : stage.ready + (stage.unacked ?? 0);
}

// One word for the eye, and the key of the text for the reader.
export function healthOf(stage) {
  const backlog = backlogOf(stage);
  if (stage.consumers === 0) return { kind: backlog ? "bad" : "warn", text: "pipeline.noWorkers" };
  if (backlog === null || stage.consumers === null) return { kind: "unknown", text: "pipeline.unknown" };
  if (backlog && stage.drain_s) return { kind: "good", text: "pipeline.working" };
  if (backlog) return { kind: "good", text: "pipeline.starting" };
  return stage.rate_tasks_per_s >= 0.05 ? { kind: "good", text: "pipeline.keepsUp" } : { kind: "idle", text: "pipeline.idle" };
}
