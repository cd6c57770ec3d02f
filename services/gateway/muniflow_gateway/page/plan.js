// Before Send: about when the images that are chosen would be done, with the workers that run and with twice as many.

import { call } from "./api.js";
import { h, setText } from "./dom.js";
import { clock, duration } from "./format.js";
import { t } from "./texts.js";

const PAUSE_MS = 300;
const LOOKED_AT = 12;
const FORMATS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" };
const WORTH = 0.85; // twice the workers are named only where they make it this much faster

export class PlanLine {
  constructor() {
    this.element = h("p", { class: "small plan", role: "status" });
    this.known = new WeakMap();
    this.asked = 0;
  }

  // Ask soon; a later call replaces this one.
  ask(files, actions) {
    clearTimeout(this.timer);
    this.asked += 1;
    if (!files.length || !actions.operations.length) {
      setText(this.element, "");
      return;
    }
    const asked = this.asked;
    this.timer = setTimeout(() => this.answer(asked, files, actions), PAUSE_MS);
  }

  async answer(asked, files, actions) {
    const text = await this.text(files, actions).catch((problem) => (problem.status === 503 ? t("plan.none") : ""));
    if (asked === this.asked) setText(this.element, text);
  }

  async text(files, actions) {
    const sizes = await this.sizes(files);
    if (!sizes.length) return "";
    const now = await call("POST", "/v1/plans", { ...actions, sizes });
    const replicas = Object.fromEntries(now.stages.map((stage) => [stage.stage, 2 * stage.replicas]));
    const twice = await call("POST", "/v1/plans", { ...actions, sizes, replicas });
    const soon = now.finish.p50_s < 1;
    const said = t(soon ? "plan.under" : "plan.about", { time: duration(soon ? 1 : now.finish.p50_s), clock: clock(now.finish.p50_at) });
    const better = twice.finish.p50_s < WORTH * now.finish.p50_s;
    return better ? `${said} ${t("plan.twice", { time: duration(twice.finish.p50_s) })}` : said;
  }

  // The sizes of some of them stand for all.
  async sizes(files) {
    const step = Math.max(files.length / LOOKED_AT, 1);
    const some = Array.from({ length: Math.min(files.length, LOOKED_AT) }, (_, place) => files[Math.floor(place * step)]);
    const found = (await Promise.all(some.map((file) => this.size(file)))).filter(Boolean);
    return found.map((size, place) => ({ ...size, count: share(files.length, found.length, place) }));
  }

  async size(file) {
    if (!this.known.has(file)) this.known.set(file, await measured(file));
    return this.known.get(file);
  }
}

// The parts of a whole number, as equal as whole numbers can be.
function share(whole, parts, place) {
  return Math.floor((whole * (place + 1)) / parts) - Math.floor((whole * place) / parts);
}

// Width and height of a picture; null for what the browser cannot read.
function measured(file) {
  return new Promise((resolve) => {
    const picture = new Image();
    const url = URL.createObjectURL(file);
    const end = (size) => {
      URL.revokeObjectURL(url);
      resolve(size);
    };
    picture.onload = () => end({ width: picture.naturalWidth, height: picture.naturalHeight, format: FORMATS[file.type] || "jpg" });
    picture.onerror = () => end(null);
    picture.src = url;
  });
}
