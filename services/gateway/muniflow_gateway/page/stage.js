// One stage: what it does now, its last hour, why images failed there, and the batches that pass it.

import { get } from "./api.js";
import { batchRow } from "./batches.js";
import { ICONS, h, icon, replace } from "./dom.js";
import { count, counted, duration, percent, rate } from "./format.js";
import { backlogOf, bottleneckOf, healthOf } from "./graph.js";
import { HistoryChart } from "./history.js";
import { routesNow } from "./stages.js";

export class StageView {
  constructor(name, summary) {
    this.name = name;
    this.charts = [
      [new HistoryChart("Backlog", "backlog", count), "backlog"],
      [new HistoryChart("Tasks per second", "rate", rate), "rate_tasks_per_s"],
      [new HistoryChart("Workers", "workers", count), "workers"],
    ];
    this.head = h("div", { class: "card batch-head" }, h("h1", {}, name), h("p", { class: "empty" }, "Loading …"));
    this.summary = summary;
    this.failures = h("div", { class: "reasons" });
    this.batches = h("ul", { class: "batches" });
    this.element = h("div", { class: "one-batch" },
      h("a", { class: "back", href: "#/" }, icon(ICONS.back), "Pipeline"), this.head,
      card("history-title", "Last hour", h("div", { class: "hours" }, this.charts.map(([chart]) => chart.element))),
      card("reasons-title", "Failures by reason", this.failures),
      card("passing-title", "Batches that pass it", this.batches));
  }

  async update() {
    try {
      await Promise.all([this.showNow(), this.showHistory(), this.showFailures(), this.showBatches()]);
    } catch (problem) {
      replace(this.head, h("h1", {}, this.name), h("p", { class: "problem" }, problem.message));
    }
  }

  async showNow() {
    const { stages, deployments } = await get("/v1/stages");
    const stage = stages.find((each) => each.op === this.name);
    if (!stage) throw new Error("there is no such stage");
    const health = healthOf(stage);
    const deployment = deployments.find((each) => each.operations.includes(this.name));
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    replace(this.head,
      h("div", { class: "title" }, h("h1", {}, this.name), h("span", { class: `state ${health.kind}` }, health.text),
        bottleneckOf(stages) === this.name ? h("span", { class: "pill mark" }, "bottleneck") : null),
      h("p", { class: "small" }, this.summary),
      h("dl", { class: "facts" },
        fact("Backlog", count(backlogOf(stage))), fact("Empty in", backlogOf(stage) ? duration(stage.drain_s) : "–"),
        fact("Tasks per second", rate(stage.rate_tasks_per_s ?? 0)), fact("Time of a task", stage.service_s ? milliseconds(stage.service_s) : "–"),
        fact("Workers", count(stage.consumers)), deployment?.wanted ? fact("Workers wanted", count(deployment.wanted)) : null,
        fact("Failed images", count(stage.dead))));
  }

  async showHistory() {
    const past = await get("/v1/stages/history");
    const trail = past.stages.find((each) => each.op === this.name);
    if (trail) for (const [chart, field] of this.charts) chart.show(past.at, trail[field]);
  }

  async showFailures() {
    const { reasons } = await get(`/v1/stages/${encodeURIComponent(this.name)}/failures`);
    const most = Math.max(1, ...reasons.map((reason) => reason.images));
    replace(this.failures, reasons.length ? h("ul", {}, reasons.map((reason) => reasonRow(reason, most))) : h("p", { class: "empty" }, "No image has failed here."));
  }

  async showBatches() {
    const passing = (await routesNow()).filter(({ ops }) => ops.includes(this.name));
    const focused = document.activeElement?.closest?.("[data-batch]")?.dataset.batch;
    replace(this.batches, passing.length ? passing.slice(0, 12).map(({ batch }) => batchRow(batch)) : h("li", { class: "empty" }, "None now."));
    if (focused) this.batches.querySelector(`[data-batch="${CSS.escape(focused)}"]`)?.focus();
  }
}

function card(id, title, content) {
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), content);
}

function reasonRow(reason, most) {
  const part = h("span", { class: "part failed" });
  part.style.width = `${percent(reason.images, most)}%`;
  return h("li", {}, h("span", {}, reason.meaning, " ", h("code", {}, reason.reason_code)), h("strong", {}, counted(reason.images, "image")),
    h("div", { class: "bar thin", "aria-hidden": "true" }, part));
}

function milliseconds(seconds) {
  return seconds < 1 ? `${seconds < 0.01 ? (seconds * 1000).toFixed(1) : Math.round(seconds * 1000)} ms` : duration(seconds);
}
