// Numbers, times and routes for people, as their locale writes them.

import { known, locale, t } from "./texts.js";

const DAY_S = 86400;
const formats = new Map();

function number(value, options = {}) {
  const key = JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(locale, options));
  return formats.get(key).format(value);
}

function unit(value, name, digits = 0) {
  return number(value, { style: "unit", unit: name, unitDisplay: "short", maximumFractionDigits: digits });
}

export function count(value) {
  return value === null || value === undefined ? "–" : number(value);
}

// The same where there is little room: from ten thousand on with three digits.
export function shortCount(value) {
  return value >= 10_000 ? number(value, { notation: "compact", maximumSignificantDigits: 3 }) : count(value);
}

export function rate(value) {
  if (value === null || value === undefined) return "–";
  const digits = value >= 100 ? 0 : value >= 0.1 || value === 0 ? 1 : 2;
  return number(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds < 1 ? t("time.under", { time: unit(1, "second") }) : unit(...inUnits(seconds));
}

// The value, the unit and the digits in which people say so many seconds.
function inUnits(seconds) {
  if (seconds < 90) return [Math.round(seconds), "second"];
  if (seconds < 5400) return [Math.round(seconds / 60), "minute"];
  if (seconds < 1.5 * DAY_S) return [seconds / 3600, "hour", 1];
  return [Math.round(seconds / DAY_S), "day"];
}

export function milliseconds(seconds) {
  if (seconds < 0.001) return t("time.under", { time: unit(1, "millisecond") });
  return seconds < 1 ? unit(seconds * 1000, "millisecond", seconds < 0.01 ? 1 : 0) : duration(seconds);
}

// The time of day, with the date where it is not within a day.
export function clock(unixSeconds) {
  const near = Math.abs(unixSeconds * 1000 - Date.now()) < DAY_S * 1000;
  const day = near ? {} : { year: "numeric", month: "short", day: "numeric" };
  return new Intl.DateTimeFormat(locale, { ...day, hour: "2-digit", minute: "2-digit" }).format(unixSeconds * 1000);
}

export function ago(unixSeconds) {
  const seconds = Date.now() / 1000 - unixSeconds;
  if (seconds < 5) return t("time.justNow");
  return before(seconds);
}

export function before(seconds) {
  const [value, name] = inUnits(seconds);
  return new Intl.RelativeTimeFormat(locale, { style: "short" }).format(-Math.round(value), name);
}

export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let scaled = value;
  let place = 0;
  while (scaled >= 999.5 && place < units.length - 1) {
    scaled /= 1000;
    place += 1;
  }
  return unit(scaled, units[place], place && scaled < 100 ? 1 : 0);
}

export function percent(part, of) {
  return of ? Math.min(100, (100 * part) / of) : 0;
}

export function stateText(state) {
  return known("state", state) ?? state;
}

// An operation of this build has a name in every language; one of your own keeps the name that it has.
export function opName(name) {
  return known("operation", name) ?? name;
}

// One step of a route in a few words; an operation that this page does not know shows its parameters.
export function stepText(step) {
  const { op, ...given } = step;
  const name = opName(op);
  if (op === "resize") {
    if (given.percent) return `${name} ${number(given.percent / 100, { style: "percent", maximumFractionDigits: 2 })}`;
    return `${name} ${given.width ?? ""}×${given.height ?? ""}${given.fit && given.fit !== "exact" ? ` ${given.fit}` : ""}`;
  }
  if (op === "split") return `${name} ${given.columns}×${given.rows}`;
  if (op === "blur") return `${name} ${given.method}`;
  const values = Object.values(given).filter((value) => typeof value !== "object");
  return [name, ...values].join(" ");
}

const MADE_UP = /^(key-[0-9a-f]{32}|batch-[0-9a-f]{16}|\d{8}-\d{6}-[0-9a-f]{8})$/; // ids that nobody chose

// What people call a batch: its name, or whose it is, or its own id; else what is in it.
export function titleOf(batch) {
  if (batch.name || batch.municipality) return batch.name || batch.municipality;
  if (batch.batch_id && !MADE_UP.test(batch.batch_id)) return batch.batch_id;
  const route = batch.operations.map((step) => opName(step.op)).join(", ");
  const images = batch.total ? t("batch.images", { n: batch.total }) : t("batch.untitled");
  return route ? t("batch.titleOf", { images, route }) : images;
}

// What stands beside the title.
export function subtitleOf(batch) {
  if (batch.name) return batch.municipality;
  return batch.municipality && !MADE_UP.test(batch.batch_id) ? batch.batch_id : "";
}

export function fileName(key) {
  return key.split("/").pop();
}
