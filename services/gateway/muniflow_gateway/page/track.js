// Progress against the forecast: from sending to the end, the forecast with its band, now, and the deadline.

import { h } from "./dom.js";
import { clock, duration } from "./format.js";
import { t } from "./texts.js";

const ROOM = 1.05; // so that the last mark does not touch the edge

// Nothing where no forecast was made; of a batch that has ended, only how it came out.
export function timeTrack(batch) {
  if (!batch.forecast_p50_at) return null;
  return h("div", { class: "track-of" }, batch.ended ? null : track(batch), h("p", { class: "small" }, trackText(batch)));
}

function track(batch) {
  const now = Date.now() / 1000;
  const last = Math.max(batch.forecast_p90_at, now, batch.eta_at ?? 0, nearDeadline(batch));
  const whole = ROOM * Math.max(last - batch.submitted_at, 0.001);
  const place = (at) => `${Math.min(100, Math.max(0, (100 * (at - batch.submitted_at)) / whole))}%`;
  const passed = h("span", { class: "passed" });
  passed.style.width = place(now);
  const band = h("span", { class: "band" });
  band.style.left = place(batch.forecast_p50_at);
  band.style.width = `calc(${place(batch.forecast_p90_at)} - ${place(batch.forecast_p50_at)})`;
  const parts = [passed, band];
  if (nearDeadline(batch)) {
    const due = h("span", { class: "due" });
    due.style.left = place(batch.deadline_at);
    parts.push(due);
  }
  return h("div", { class: "track", role: "img", "aria-label": trackText(batch) }, parts);
}

// A deadline that is far away would make the rest too small to see.
function nearDeadline(batch) {
  const planned = batch.forecast_p90_at - batch.submitted_at;
  return batch.deadline_at && batch.deadline_at - batch.submitted_at < 4 * planned ? batch.deadline_at : 0;
}

function trackText(batch) {
  const [p50, p90] = [batch.forecast_p50_at, batch.forecast_p90_at].map((at) => duration(at - batch.submitted_at));
  const range = t("track.range", { p50, p90, clock: clock(batch.forecast_p50_at) });
  if (!batch.ended || !batch.finished_at) return range;
  return `${range} · ${t(batch.finished_at <= batch.forecast_p90_at ? "track.kept" : "track.late")}`;
}
