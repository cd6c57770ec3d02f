// One stage: what it does now, its last hour, why images failed there, and the batches that pass it.

import { ApiProblem, get, told } from "./api.js";
import { batchRow } from "./batches.js";
import { ICONS, h, icon, replace } from "./dom.js";
import { count, duration, milliseconds, opName, percent, rate } from "./format.js";
import { backlogOf, bottleneckOf, healthOf } from "./graph.js";
import { HistoryChart } from "./history.js";
import { routesNow } from "./stages.js";
import { said } from "./said.js";
import { known, t } from "./texts.js";

export class StageView {
  constructor(name, summary) {
    this.name = name;
    this.charts = [
      [new HistoryChart(t("stage.backlog"), "backlog", count), "backlog"],
      [new HistoryChart(t("stage.rate"), "rate", rate), "rate_tasks_per_s"],
      [new HistoryChart(t("stage.workers"), "workers", count), "workers"],
    ];
    this.head = h("div", { class: "card batch-head" }, h("h1", { class: "stage-title" }, opName(name)), h("p", { class: "empty" }, t("page.loading")));
    this.summary = known("operation", `${name}.summary`) ?? said(summary);
    this.failures = h("div", { class: "reasons" });
    this.batches = h("ul", { class: "batches" });
    this.element = h("div", { class: "one-batch" },
      h("a", { class: "back", href: "#/" }, icon(ICONS.back), t("pipeline.title")), this.head,
      card("history-title", t("stage.hour"), h("div", { class: "hours" }, this.charts.map(([chart]) => chart.element))),
      card("reasons-title", t("stage.reasons"), this.failures),
      card("passing-title", t("stage.passing"), this.batches));
  }

  async update() {
    try {
      await Promise.all([this.showNow(), this.showHistory(), this.showFailures(), this.showBatches()]);
    } catch (problem) {
      replace(this.head, h("h1", { class: "stage-title" }, opName(this.name)), h("p", { class: "problem" }, told(problem)));
    }
  }

  async showNow() {
    const { stages, deployments } = await get("/v1/stages");
    const stage = stages.find((each) => each.op === this.name);
    if (!stage) throw new ApiProblem(404, { reason: "stage" });
    const health = healthOf(stage);
    const deployment = deployments.find((each) => each.operations.includes(this.name));
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    replace(this.head,
      h("div", { class: "title" }, h("h1", { class: "stage-title" }, opName(this.name)), h("span", { class: `state ${health.kind}` }, t(health.text)),
        bottleneckOf(stages) === this.name ? h("span", { class: "pill mark" }, t("pipeline.bottleneck")) : null),
      h("p", { class: "small" }, this.summary),
      h("dl", { class: "facts" },
        fact(t("stage.backlog"), count(backlogOf(stage))), fact(t("stage.emptyIn"), backlogOf(stage) ? duration(stage.drain_s) : "–"),
        fact(t("stage.rate"), rate(stage.rate_tasks_per_s ?? 0)), fact(t("stage.taskTime"), stage.service_s ? milliseconds(stage.service_s) : "–"),
        fact(t("stage.workers"), count(stage.consumers)), deployment?.wanted ? fact(t("stage.wanted"), count(deployment.wanted)) : null,
        fact(t("stage.failed"), count(stage.dead))));
  }

  async showHistory() {
    const past = await get("/v1/stages/history");
    const trail = past.stages.find((each) => each.op === this.name);
    if (trail) for (const [chart, field] of this.charts) chart.show(past.at, trail[field]);
  }

  async showFailures() {
    const { reasons } = await get(`/v1/stages/${encodeURIComponent(this.name)}/failures`);
    const most = Math.max(1, ...reasons.map((reason) => reason.images));
    replace(this.failures, reasons.length ? h("ul", {}, reasons.map((reason) => reasonRow(reason, most))) : h("p", { class: "empty" }, t("stage.noFailures")));
  }

  async showBatches() {
    const passing = (await routesNow()).filter(({ batch, ops }) => !batch.ended && ops.includes(this.name));
    const focused = document.activeElement?.closest?.("[data-batch]")?.dataset.batch;
    replace(this.batches, passing.length ? passing.slice(0, 12).map(({ batch }) => batchRow(batch)) : h("li", { class: "empty" }, t("stage.nonePassing")));
    if (focused) this.batches.querySelector(`[data-batch="${CSS.escape(focused)}"]`)?.focus();
  }
}

function card(id, title, content) {
  return h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), content);
}

function reasonRow(reason, most) {
  const part = h("span", { class: "part failed" });
  part.style.width = `${percent(reason.images, most)}%`;
  return h("li", {}, h("span", {}, known("reason", reason.reason_code) ?? said(reason.meaning), " ", h("code", {}, reason.reason_code)), h("strong", {}, t("batch.images", { n: reason.images })),
    h("div", { class: "bar thin", "aria-hidden": "true" }, part));
}
