// The pipeline: the stages in the order of the routes that run, with lines between them, and on each what it does now.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { h, replace, setText } from "./dom.js";
import { Edges, ends } from "./edges.js";
import { count, duration, opName, rate, shortCount } from "./format.js";
import { IN, OUT, backlogOf, bottleneckOf, graphOf, healthOf } from "./graph.js";
import { t } from "./texts.js";

const ROUTES_MS = 4000;
const POINTS = 120; // ten minutes

export function stagePath(name) {
  return `#/stage/${encodeURIComponent(name)}`;
}

// The routes of running batches, and of the newest where none runs.
export async function routesNow() {
  const running = await get("/v1/batches?state=running&limit=50");
  const { batches } = running.batches.length ? running : await get("/v1/batches?limit=8");
  return batches.filter((batch) => batch.operations.length).map((batch) => ({
    batch, ops: batch.operations.map((step) => step.op), images: Math.max(1, batch.total - batch.done - batch.failed - batch.cancelled),
  }));
}

export class StagesCard {
  constructor() {
    this.cards = new Map();
    this.drawn = "";
    this.routes = [];
    this.asked = 0;
    this.list = h("ol", { class: "flow" });
    this.said = h("p", { class: "unseen" });
    this.edges = new Edges(this.list);
    this.element = h(
      "section", { class: "card pipeline", "aria-labelledby": "stages-title" },
      h("div", { class: "card-head" },
        h("h2", { id: "stages-title" }, t("pipeline.title")),
        h("p", { class: "legend", "aria-hidden": "true" },
          h("span", { class: "dot backlog" }), t("pipeline.backlog"), h("span", { class: "dot rate" }), t("pipeline.rate"), h("span", { class: "span" }, t("pipeline.span")))),
      this.said, this.list,
    );
  }

  async update() {
    const [{ stages }] = await Promise.all([get("/v1/stages"), this.ask()]);
    const names = stages.map((stage) => stage.op);
    const graph = graphOf(names, this.routes);
    if (names.some((name) => !this.cards.has(name)) || this.cards.size !== names.length) await this.rebuild(names);
    this.place(graph);
    const bottleneck = bottleneckOf(stages);
    for (const stage of stages) this.show(stage, stage.op === bottleneck);
    this.edges.busy(new Set(stages.filter((stage) => backlogOf(stage) > 0).map((stage) => stage.op)));
  }

  async ask() {
    if (Date.now() - this.asked < ROUTES_MS) return;
    this.asked = Date.now();
    this.routes = await routesNow();
  }

  async rebuild(names) {
    this.stop();
    this.cards = new Map(names.map((name) => [name, stageCard(name)]));
    this.drawn = "";
    const past = await get(`/v1/stages/history?limit=${POINTS}`).catch(() => null);
    for (const trail of past?.stages ?? []) this.cards.get(trail.op)?.chart.load(past.at, trail.backlog, trail.rate_tasks_per_s);
  }

  // Cards and lines are drawn anew only where their order changes: what has the focus stays.
  place({ order, column, edges, used }) {
    const shape = JSON.stringify([order, [...column], edges.map(({ from, to, images }) => [from, to, Math.ceil(Math.log2(images + 1))])]);
    if (shape === this.drawn) return;
    this.drawn = shape;
    const focused = document.activeElement;
    const last = Math.max(...column.values());
    const nodes = new Map([...ends(), ...[...this.cards].map(([name, card]) => [name, card.element])]);
    for (const [name, element] of nodes) {
      const at = name === IN ? 1 : name === OUT ? last + 3 : column.get(name) + 2;
      element.style.setProperty("--column", String(at));
      element.classList.toggle("unused", used.size > 0 && !used.has(name) && column.has(name));
    }
    this.list.style.setProperty("--columns", String(last + 1));
    this.list.classList.toggle("many", last > 3);
    replace(this.list, edges.length ? [this.edges.svg, nodes.get(IN)] : [], order.map((name) => this.cards.get(name).element), edges.length ? nodes.get(OUT) : []);
    this.list.classList.toggle("no-edges", !edges.length);
    this.list.classList.toggle("returns", edges.some(({ from, to }) => column.get(from) >= column.get(to)));
    if (this.list.contains(focused)) focused.focus();
    setText(this.said, edges.filter((edge) => edge.from !== IN && edge.to !== OUT).map((edge) => t("pipeline.leads", { from: opName(edge.from), to: opName(edge.to) })).join("; "));
    this.edges.show(edges, column, nodes);
  }

  show(stage, isBottleneck) {
    const card = this.cards.get(stage.op);
    const backlog = backlogOf(stage);
    const health = healthOf(stage);
    card.chart.add(backlog, stage.rate_tasks_per_s);
    setText(card.backlog, shortCount(backlog));
    setText(card.rate, rate(stage.rate_tasks_per_s ?? 0));
    card.backlog.classList.toggle("zero", !backlog);
    card.rate.classList.toggle("zero", !(stage.rate_tasks_per_s >= 0.05));
    setText(card.workers, stage.consumers === null ? t("pipeline.workersUnknown") : t("pipeline.workers", { n: stage.consumers }));
    setText(card.drain, backlog && stage.drain_s ? t("pipeline.emptyIn", { time: duration(stage.drain_s) }) : "");
    setText(card.dead, stage.dead ? t("pipeline.failed", { n: stage.dead }) : "");
    card.health.className = `state ${health.kind}`;
    setText(card.health, t(health.text));
    card.mark.hidden = !isBottleneck;
    card.element.classList.toggle("bottleneck", isBottleneck);
    const said = { stage: opName(stage.op), backlog: count(backlog), rate: rate(stage.rate_tasks_per_s ?? 0) };
    card.canvas.setAttribute("aria-label", t("pipeline.chart", said));
  }

  stop() {
    for (const card of this.cards.values()) card.chart.stop();
  }
}

function stageCard(name) {
  const canvas = h("canvas", { class: "chart", role: "img" });
  const card = {
    canvas,
    chart: new Chart(canvas),
    backlog: h("strong", { class: "backlog-number" }),
    rate: h("strong", { class: "rate-number" }),
    health: h("span", { class: "state" }),
    mark: h("span", { class: "pill mark", hidden: true }, t("pipeline.bottleneck")),
    workers: h("span"),
    drain: h("span"),
    dead: h("span", { class: "bad" }),
  };
  card.element = h(
    "li", { class: "stage" },
    h("h3", {}, h("a", { href: stagePath(name) }, opName(name))),
    h("div", { class: "stage-head" }, card.health, card.mark),
    h("p", { class: "numbers" },
      h("span", {}, card.backlog, h("small", {}, t("pipeline.backlog"))), h("span", {}, card.rate, h("small", {}, t("pipeline.tasks")))),
    canvas,
    h("p", { class: "small" }, card.workers, card.drain, card.dead),
  );
  return card;
}
