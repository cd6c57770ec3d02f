// A chart of an hour: one series, drawn as SVG, with its largest value and its span beside it.

import { h, replace, setText } from "./dom.js";
import { before, duration } from "./format.js";
import { t } from "./texts.js";

const [WIDTH, HEIGHT] = [600, 120];
const SVG = "http://www.w3.org/2000/svg";

export class HistoryChart {
  constructor(title, kind, format) {
    this.title = title;
    this.format = format;
    this.top = h("span", { class: "axis" });
    this.now = h("strong", { class: `${kind}-number` });
    this.from = h("span");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("class", `history ${kind}`);
    this.svg.setAttribute("role", "img");
    this.element = h("figure", { class: "hour" },
      h("figcaption", {}, h("span", {}, title), this.now), h("div", { class: "plot" }, this.svg, this.top),
      h("p", { class: "small ends" }, this.from, h("span", {}, t("stage.now"))));
  }

  show(at, values) {
    const known = values.filter((value) => value !== null);
    const most = Math.max(0, ...known);
    const last = values.at(-1) ?? null;
    const span = at.length > 1 ? at.at(-1) - at[0] : 0;
    setText(this.top, this.format(most));
    setText(this.now, this.format(last));
    setText(this.from, span ? before(span) : t("stage.begun"));
    const said = { title: this.title, now: this.format(last), most: this.format(most), span: duration(span) };
    this.svg.setAttribute("aria-label", t(span ? "stage.chart" : "stage.chartBegun", said));
    replace(this.svg, pieces(at, values).flatMap((piece) => [area(piece, most), line(piece, most)]));
  }
}

// Runs of known values: a gap stays a gap.
function pieces(at, values) {
  const span = at.at(-1) - at[0] || 1;
  const found = [[]];
  values.forEach((value, index) => {
    if (value === null) found.push([]);
    else found.at(-1).push([(WIDTH * (at[index] - at[0])) / span, value]);
  });
  return found.filter((piece) => piece.length > 1);
}

function points(piece, most) {
  return piece.map(([x, value]) => `${x.toFixed(1)} ${(HEIGHT - 2 - ((HEIGHT - 28) * value) / (most || 1)).toFixed(1)}`);
}

function path(kind, d) {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("class", kind);
  element.setAttribute("d", d);
  element.setAttribute("vector-effect", "non-scaling-stroke");
  return element;
}

function line(piece, most) {
  return path("line", `M${points(piece, most).join("L")}`);
}

function area(piece, most) {
  return path("area", `M${piece[0][0].toFixed(1)} ${HEIGHT}L${points(piece, most).join("L")}L${piece.at(-1)[0].toFixed(1)} ${HEIGHT}Z`);
}
