// The list of batches.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { ago, clock, duration, opName, percent, rate, stateText, stepText, subtitleOf, titleOf } from "./format.js";
import { said } from "./said.js";
import { t } from "./texts.js";

const PAGE = 12;

export function statePill(state) {
  return h("span", { class: `pill ${state}` }, stateText(state));
}

// A bar of done, failed and cancelled; for screen readers a progressbar with a text.
export function progressBar(batch) {
  const settled = batch.done + batch.failed + batch.cancelled;
  const bar = h("div", {
    class: "bar", role: "progressbar", "aria-label": t("batches.settled"),
    "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": String(Math.floor(percent(settled, batch.total))),
    "aria-valuetext": progressText(batch),
  });
  for (const kind of ["done", "failed", "cancelled"]) {
    const part = h("span", { class: `part ${kind}` });
    part.style.width = `${percent(batch[kind], batch.total)}%`;
    bar.append(part);
  }
  return bar;
}

export function progressText(batch) {
  if (batch.state === "intake") return batch.total ? t("batch.readIn", { n: batch.total }) : t("batch.reading");
  const parts = [t("batch.doneOf", { done: batch.done, n: batch.total })];
  for (const kind of ["failed", "cancelled", "skipped"]) if (batch[kind]) parts.push(t(`batch.${kind}`, { n: batch[kind] }));
  return parts.join(", ");
}

// What is known of a deadline; nothing where there is none, or the batch has ended.
export function deadlineText(batch) {
  if (!batch.deadline_at || batch.ended) return "";
  const due = clock(batch.deadline_at);
  if (batch.feasible === false) return t("batch.dueMissed", { clock: due, earliest: clock(batch.earliest_at) });
  return t(batch.feasible ? "batch.dueMet" : "batch.due", { clock: due });
}

// How fast it goes and when it ends: a text, or elements where a part is English.
export function paceText(batch) {
  if (batch.waiting_for) return waitText(batch.waiting_for);
  if (batch.ended) {
    if (!batch.finished_at) return "";
    if (batch.reopened_at) return t("batch.replayTook", { time: duration(Math.max(0, batch.finished_at - batch.reopened_at)) });
    return t("batch.took", { time: duration(batch.finished_at - batch.submitted_at) });
  }
  const parts = batch.rate_images_per_s ? [t("batch.rate", { n: rate(batch.rate_images_per_s) })] : [];
  if (batch.eta_s !== null) parts.push(t("batch.left", { time: duration(batch.eta_s), clock: clock(batch.eta_at) }));
  else if (batch.state === "finishing") parts.push(t("batch.writing"));
  else if (batch.state !== "intake") parts.push(t(batch.done ? "batch.noEnd" : "batch.starting"));
  return parts.join(" · ");
}

const NO_CONSUMER = "no consumer: ";

function waitText(reason) {
  if (!reason.startsWith(NO_CONSUMER)) return [t("batch.waits"), " ", said(reason)];
  const operations = reason.slice(NO_CONSUMER.length).split(", ").map(opName).join(", ");
  return t("batch.waitsWorker", { operation: operations });
}

export class BatchesCard {
  constructor() {
    this.limit = PAGE;
    this.shown = "";
    this.state = h("select", { id: "state", onchange: () => this.refresh() },
      h("option", { value: "" }, t("batches.every")),
      ["running", "done", "partial", "failed", "cancelled", "rejected"].map((state) => h("option", { value: state }, stateText(state))));
    this.municipality = h("input", {
      id: "municipality-filter", type: "search", placeholder: t("batches.municipality"), maxlength: "200", onchange: () => this.refresh(),
    });
    this.list = h("ul", { class: "batches" });
    this.more = h("button", { class: "quiet", type: "button", hidden: true, onclick: () => this.showMore() }, t("batches.more"));
    this.element = h(
      "section", { class: "card", "aria-labelledby": "batches-title" },
      h("div", { class: "card-head" }, h("h2", { id: "batches-title" }, t("batches.title")),
        h("div", { class: "filters" },
          h("label", { class: "unseen", for: "state" }, t("batches.state")), this.state,
          h("label", { class: "unseen", for: "municipality-filter" }, t("batches.municipality")), this.municipality)),
      this.list, this.more,
    );
  }

  showMore() {
    this.limit += 24;
    return this.refresh();
  }

  refresh() {
    this.shown = "";
    return this.update();
  }

  async update() {
    const query = new URLSearchParams({ limit: String(Math.min(this.limit, 500)) });
    if (this.state.value) query.set("state", this.state.value);
    if (this.municipality.value.trim()) query.set("municipality", this.municipality.value.trim());
    const page = await get(`/v1/batches?${query}`);
    this.more.hidden = page.next === null || this.limit >= 500;
    const minute = Math.floor(Date.now() / 15000); // so that "2 min ago" moves on
    const shown = JSON.stringify([page.batches, minute]);
    if (shown === this.shown) return;
    this.shown = shown;
    const focused = document.activeElement?.closest?.("[data-batch]")?.dataset.batch;
    replace(this.list, page.batches.length ? page.batches.map(batchRow) : h("li", { class: "empty" }, t(query.size > 1 ? "batches.noneFound" : "batches.none")));
    if (focused) this.list.querySelector(`[data-batch="${CSS.escape(focused)}"]`)?.focus();
  }
}

// A refused batch: why, and no progress. Without an id there is nothing to open.
function refusedRow(batch) {
  const first = batch.faults[0] || { place: "", problem: "" };
  const more = batch.faults.length > 1 ? ` ${t("batches.moreFaults", { n: batch.faults.length - 1 })}` : "";
  const isNamed = batch.name || batch.municipality || batch.batch_id; // a refused one has no more than that
  const below = [batch.municipality, batch.batch_id].find((part) => part && part !== titleOf(batch));
  const inside = [
    h("span", { class: "batch-name" }, isNamed ? titleSpan(batch) : h("span", {}, t("batches.withoutId")), below ? h("small", { translate: "no" }, below) : null),
    statePill(batch.state),
    h("span", { class: "small" },
      h("span", { class: "faults-of" }, first.place ? h("code", {}, first.place) : null, " ", said(first.problem), more),
      h("span", {}, ago(batch.submitted_at))),
  ];
  if (!batch.batch_id) return h("li", {}, h("div", { class: "batch" }, inside));
  return h("li", {}, h("a", { class: "batch", href: `#/batch/${encodeURIComponent(batch.batch_id)}` }, inside));
}

// A name that a person gave is in no language of the page.
export function titleSpan(batch) {
  const title = titleOf(batch);
  return h("span", { translate: [batch.name, batch.municipality, batch.batch_id].includes(title) ? "no" : null }, title);
}

export function batchRow(batch) {
  if (batch.state === "rejected") return refusedRow(batch);
  const quiet = batch.state === "done" || batch.state === "cancelled";
  return h("li", {}, h(
    "a", { class: quiet ? "batch ended" : "batch", href: `#/batch/${encodeURIComponent(batch.batch_id)}`, "data-batch": batch.batch_id },
    h("span", { class: "batch-name" }, titleSpan(batch), h("small", { translate: "no" }, subtitleOf(batch))),
    statePill(batch.state),
    quiet ? null : progressBar(batch),
    h("span", { class: "small" }, h("span", {}, progressText(batch)), h("span", {}, paceText(batch)), h("span", { class: "route-of" }, batch.operations.map(stepText).join(" → ")),
      h("span", {}, ago(batch.submitted_at))),
  ));
}
