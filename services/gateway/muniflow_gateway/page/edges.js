// The lines between stages: drawn behind the cards, anew when the cards move.

import { h, replace } from "./dom.js";
import { IN, OUT } from "./graph.js";
import { t } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const BEND = 14;
const [LANE, LANES] = [3.5, 3]; // px between ways around, and how many lie beside each other

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export class Edges {
  constructor(board) {
    this.board = board;
    this.svg = shape("svg", { class: "edges", "aria-hidden": "true" });
    this.edges = [];
    this.column = new Map();
    new ResizeObserver(() => this.draw()).observe(board);
  }

  // `nodes` gives the element of each name.
  show(edges, column, nodes) {
    this.edges = edges;
    this.column = column;
    this.nodes = nodes;
    this.draw();
  }

  // Which stages work now: the lines to them move.
  busy(names) {
    for (const line of this.svg.querySelectorAll(".edge")) line.classList.toggle("moving", names.has(line.dataset.to));
  }

  draw() {
    const { board } = this;
    if (!board.clientWidth) return;
    this.vertical = getComputedStyle(board).getPropertyValue("--way").trim() === "down";
    this.svg.setAttribute("viewBox", `0 0 ${board.clientWidth} ${board.clientHeight}`);
    const most = Math.max(1, ...this.edges.map((edge) => edge.images));
    this.lanes = this.lanesOf();
    const moving = new Set([...this.svg.querySelectorAll(".moving")].map((line) => line.dataset.to));
    replace(this.svg, this.edges.map((edge) => this.line(edge, most, moving)));
  }

  // Which way around each edge takes that cannot go straight: the short ones nearest to the cards.
  lanesOf() {
    const far = [];
    for (const edge of this.edges) {
      const [from, to] = [this.box(edge.from), this.box(edge.to)];
      const side = from && to && edge.from !== edge.to ? this.isFar(edge, from, to) : 0;
      if (side) far.push({ edge, side, length: Math.abs(to.start - from.end) });
    }
    far.sort((one, other) => one.length - other.length);
    return new Map(far.map(({ edge, side }) => {
      const place = far.filter((each) => each.side === side).findIndex((each) => each.edge === edge);
      return [edge, { side, across: 7 + LANE * Math.min(place, LANES - 1) }];
    }));
  }

  line(edge, most, moving) {
    const [from, to] = [this.box(edge.from), this.box(edge.to)];
    if (!from || !to || edge.from === edge.to) return null;
    const far = this.lanes.get(edge);
    const d = far ? this.around(from, to, far) : this.straight(from, to);
    const group = shape("g", { class: `edge${moving.has(edge.to) ? " moving" : ""}`, "data-to": edge.to });
    group.append(shape("path", { class: "way", d, "stroke-width": (1.5 + (2.5 * edge.images) / most).toFixed(1) }),
      shape("path", { class: "run", d }), shape("path", { class: "tip", d: this.tip(to) }));
    return group;
  }

  // Along the way and across it, whichever way the board lies.
  box(name) {
    const element = this.nodes.get(name);
    if (!element?.isConnected) return null;
    const { offsetLeft: x, offsetTop: y, offsetWidth: w, offsetHeight: hgt } = element;
    return this.vertical ? { start: y, end: y + hgt, mid: x + w / 2, low: x, high: x + w } : { start: x, end: x + w, mid: y + hgt / 2, low: y, high: y + hgt };
  }

  // 1: over columns that lie between; -1: back; 0: to the next one.
  isFar(edge, from, to) {
    if (to.start < from.end) return -1;
    const between = [...this.nodes.keys()].map((name) => name !== edge.from && name !== edge.to && this.box(name))
      .filter((box) => box && box.start >= from.end && box.end <= to.start && box.low <= to.mid && box.high >= to.mid);
    return between.length ? 1 : 0;
  }

  straight(from, to) {
    const half = (from.end + to.start) / 2;
    return `M${this.at(from.end, from.mid)} C${this.at(half, from.mid)} ${this.at(half, to.mid)} ${this.at(to.start - 6, to.mid)}`;
  }

  around(from, to, { side, across }) {
    const boxes = [...this.nodes.keys()].map((name) => this.box(name)).filter(Boolean);
    const lane = side > 0 ? Math.min(...boxes.map((box) => box.low)) - across : Math.max(...boxes.map((box) => box.high)) + across;
    const [out, back] = side > 0 ? [from.end + BEND, to.start - BEND] : [from.end, to.start];
    return `M${this.at(from.end, from.mid)} C${this.at(from.end + 1.5 * BEND, from.mid)} ${this.at(side > 0 ? from.end : from.end + 1.5 * BEND, lane)} ${this.at(out, lane)} `
      + `L${this.at(back, lane)} C${this.at(side > 0 ? to.start : to.start - 1.5 * BEND, lane)} ${this.at(to.start - 1.5 * BEND, to.mid)} ${this.at(to.start - 6, to.mid)}`;
  }

  tip(to) {
    return `M${this.at(to.start - 8, to.mid - 5)} L${this.at(to.start - 1, to.mid)} L${this.at(to.start - 8, to.mid + 5)} Z`;
  }

  at(along, across) {
    const [x, y] = this.vertical ? [across, along] : [along, across];
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  }
}

// Where images come in and outputs go out.
export function ends() {
  return new Map([[IN, h("li", { class: "end" }, t("pipeline.images"))], [OUT, h("li", { class: "end" }, t("pipeline.outputs"))]]);
}
