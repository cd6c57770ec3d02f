// A moving chart: the last ten minutes of a stage's backlog (area) and throughput (line). Drawn on a canvas; the
// numbers stand beside it as text, for those who cannot see it.

const SPAN_MS = 600_000;
const SKEW_MS = 15_000; // a clock that is further off is another clock
const LAG_MS = 2_000; // points come in every 1.5 s; drawing a little in the past makes the movement smooth
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
    this.top = [4, 4];
    this.last = 0;
    this.running = true;
    const turn = (now) => {
      if (!this.running) return;
      if (now - this.last > (STILL.matches ? 1500 : 40)) {
        this.last = now;
        this.draw();
      }
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }

  add(backlog, rate) {
    const now = Date.now();
    this.points.push({ at: now, values: [backlog, rate] });
    while (this.points.length > 2 && this.points[1].at < now - SPAN_MS - LAG_MS) this.points.shift();
  }

  // What was before the page was opened; times are those of the server.
  load(at, backlog, rate) {
    const skew = Date.now() - at.at(-1) * 1000;
    const shift = Math.abs(skew) > SKEW_MS ? skew : 0;
    this.points = at.map((seconds, index) => ({ at: seconds * 1000 + shift, values: [backlog[index], rate[index]] }));
  }

  stop() {
    this.running = false;
  }

  draw() {
    const { canvas } = this;
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !canvas.isConnected) return;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    this.grid(pen, width, height, style.getPropertyValue("--line"));
    this.series(pen, 0, width, height, style.getPropertyValue("--backlog"), true);
    this.series(pen, 1, width, height, style.getPropertyValue("--rate"), false);
  }

  grid(pen, width, height, color) {
    pen.strokeStyle = color;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const share of [0.25, 0.5, 0.75]) {
      const y = Math.round(height * share) + 0.5;
      pen.moveTo(0, y);
      pen.lineTo(width, y);
    }
    pen.stroke();
  }

  series(pen, index, width, height, color, filled) {
    const end = Date.now() - LAG_MS;
    const wanted = Math.max(4, ...this.points.map((point) => point.values[index] ?? 0)) * 1.15;
    this.top[index] += (wanted - this.top[index]) * 0.08; // the scale glides, too
    const place = (point) => [
      width * (1 - (end - point.at) / SPAN_MS),
      height - 2 - ((height - 6) * (point.values[index] ?? 0)) / this.top[index],
    ];
    const places = this.points.map(place);
    if (places.length < 2) return;
    pen.beginPath();
    places.forEach(([x, y], number) => (number ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.strokeStyle = color;
    pen.lineWidth = filled ? 1.5 : 2;
    pen.lineJoin = "round";
    pen.stroke();
    if (!filled) return;
    pen.lineTo(places.at(-1)[0], height);
    pen.lineTo(places[0][0], height);
    pen.closePath();
    pen.globalAlpha = 0.22;
    pen.fillStyle = color;
    pen.fill();
    pen.globalAlpha = 1;
  }
}
