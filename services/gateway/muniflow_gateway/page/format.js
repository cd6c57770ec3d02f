// Numbers, times and routes for people.

const whole = new Intl.NumberFormat("en");

export function count(value) {
  return value === null || value === undefined ? "–" : whole.format(value);
}

export function counted(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 100) return count(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 0.1 || value === 0 ? 1 : 2);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

// The time of day, with the date where it is not within a day.
export function clock(unixSeconds) {
  const moment = new Date(unixSeconds * 1000);
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return unixSeconds * 1000 - Date.now() < 86400000 ? time : `${moment.toLocaleDateString()} ${time}`;
}

export function ago(unixSeconds) {
  const seconds = Date.now() / 1000 - unixSeconds;
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB"];
  let scaled = value / 1000;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${units[unit]}`;
}

export function percent(part, of) {
  return of ? Math.min(100, (100 * part) / of) : 0;
}

export const STATES = {
  intake: "reading in", running: "running", finishing: "finishing", done: "done", partial: "partly done",
  failed: "failed", cancelled: "cancelled", rejected: "refused", pending: "waiting",
};

// One step of a route in a few words; an operation that this page does not know shows its parameters.
export function stepText(step) {
  const { op, ...given } = step;
  if (op === "resize") {
    if (given.percent) return `resize ${given.percent}%`;
    return `resize ${given.width ?? ""}×${given.height ?? ""}${given.fit && given.fit !== "exact" ? ` ${given.fit}` : ""}`;
  }
  if (op === "split") return `split ${given.columns}×${given.rows}`;
  if (op === "blur") return `blur ${given.method}`;
  const values = Object.values(given).filter((value) => typeof value !== "object");
  return [op, ...values].join(" ");
}

const MADE_UP = /^(key-[0-9a-f]{32}|batch-[0-9a-f]{16}|\d{8}-\d{6}-[0-9a-f]{8})$/; // ids that nobody chose

// What people call a batch: its name, or whose it is, or its own id; else what is in it.
export function titleOf(batch) {
  if (batch.name || batch.municipality) return batch.name || batch.municipality;
  if (batch.batch_id && !MADE_UP.test(batch.batch_id)) return batch.batch_id;
  const route = batch.operations.map((step) => step.op).join(", ");
  return `${batch.total ? counted(batch.total, "image") : "A batch"}${route ? `: ${route}` : ""}`;
}

// What stands beside the title.
export function subtitleOf(batch) {
  if (batch.name) return batch.municipality;
  return batch.municipality && !MADE_UP.test(batch.batch_id) ? batch.batch_id : "";
}

export function fileName(key) {
  return key.split("/").pop();
}
