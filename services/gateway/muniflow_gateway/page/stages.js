// The pipeline: one card for each stage, with a moving chart.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { h, replace, setText } from "./dom.js";
import { count, counted, duration, rate } from "./format.js";

export class StagesCard {
  constructor() {
    this.cards = new Map();
    this.list = h("ul", { class: "stages" });
    this.element = h(
      "section", { class: "card", "aria-labelledby": "stages-title" },
      h("div", { class: "card-head" },
        h("h2", { id: "stages-title" }, "Pipeline"),
        h("p", { class: "legend", "aria-hidden": "true" },
          h("span", { class: "dot backlog" }), "backlog", h("span", { class: "dot rate" }), "tasks per second")),
      this.list,
    );
  }

  async update() {
    const { stages } = await get("/v1/stages");
    const names = stages.map((stage) => stage.op);
    if (names.join() !== [...this.cards.keys()].join()) this.rebuild(names);
    for (const stage of stages) this.show(stage);
  }

  rebuild(names) {
    this.stop();
    this.cards = new Map(names.map((name) => [name, stageCard(name)]));
    replace(this.list, [...this.cards.values()].map((card) => card.element));
  }

  show(stage) {
    const card = this.cards.get(stage.op);
    const backlog = stage.ready === null ? null : stage.ready + (stage.unacked ?? 0);
    card.chart.add(backlog, stage.rate_tasks_per_s);
    setText(card.backlog, count(backlog));
    setText(card.rate, rate(stage.rate_tasks_per_s ?? 0));
    setText(card.workers, stage.consumers === null ? "workers not known" : counted(stage.consumers, "worker"));
    card.workers.classList.toggle("bad", stage.consumers === 0);
    setText(card.drain, backlog ? `empty in ${duration(stage.drain_s)}` : "idle");
    setText(card.dead, stage.dead ? counted(stage.dead, "dead letter") : "");
    card.canvas.setAttribute(
      "aria-label",
      `${stage.op}: backlog ${count(backlog)}, ${rate(stage.rate_tasks_per_s ?? 0)} tasks per second, last two minutes`,
    );
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
    workers: h("span"),
    drain: h("span"),
    dead: h("span", { class: "bad" }),
  };
  card.element = h(
    "li", { class: "stage" },
    h("h3", {}, name),
    h("p", { class: "numbers" },
      h("span", {}, card.backlog, h("small", {}, "backlog")), h("span", {}, card.rate, h("small", {}, "per second"))),
    canvas,
    h("p", { class: "small" }, card.workers, card.drain, card.dead),
  );
  return card;
}
