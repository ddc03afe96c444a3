// SPDX-License-Identifier: Apache-2.0
// Lines over the last five minutes, on a canvas.

const SPAN = 300; // seconds that a graph shows at most
const LEAST = 60; // and at least

const colours = new Map();

/** The colours are others now. */
export const repaint = () => colours.clear();

/** A custom property with light-dark() is only resolved as an element's colour. */
function resolved(name) {
	if (!colours.has(name)) {
		const probe = document.body.appendChild(document.createElement("i"));
		probe.style.color = `var(${name})`;
		colours.set(name, getComputedStyle(probe).color);
		probe.remove();
	}
	return colours.get(name);
}

const fixed = new WeakMap(); // of canvases that say their size: to ask for it would lay the page out

function sizeOf(canvas) {
	if (!fixed.has(canvas) && canvas.hasAttribute("width")) {
		const { width, height } = canvas;
		canvas.style.width = `${width}px`;
		canvas.style.height = `${height}px`;
		fixed.set(canvas, [width, height]);
	}
	return fixed.get(canvas) ?? [canvas.clientWidth, canvas.clientHeight];
}

function fit(canvas) {
	const ratio = window.devicePixelRatio || 1;
	const [width, height] = sizeOf(canvas);
	if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
		canvas.width = Math.round(width * ratio);
		canvas.height = Math.round(height * ratio);
		if (!fixed.has(canvas)) fixed.set(canvas, undefined); // it has attributes now, but they are ours
	}
	const pen = canvas.getContext("2d");
	pen.setTransform(ratio, 0, 0, ratio, 0, 0);
	pen.clearRect(0, 0, width, height);
	return { pen, width, height };
}

function trace(pen, points, x, y) {
	pen.beginPath();
	points.forEach(([time, value], index) => {
		if (index) pen.lineTo(x(time), y(value));
		else pen.moveTo(x(time), y(value));
	});
}

/**
 * Draw `lines`, each { points: [[time, value]…], colour: "--name" }, with times in seconds up to `now`.
 * `top` is the least height of the scale; `label` writes a value on it.
 */
export function draw(canvas, lines, now, top, label = null) {
	const { pen, width, height } = fit(canvas);
	if (!width || !height) return;
	const first = Math.min(...lines.map((line) => line.points[0]?.[0] ?? now));
	const span = Math.min(Math.max(now - first, LEAST), SPAN);
	const highest = Math.max(top, ...lines.flatMap((line) => line.points.map((point) => point[1])));
	const x = (time) => width - ((now - time) / span) * width;
	const y = (value) => height - 1.5 - (value / highest) * (height - 4);
	if (label) {
		pen.strokeStyle = resolved("--line");
		pen.fillStyle = resolved("--soft");
		pen.lineWidth = 1;
		pen.font = "11px system-ui, sans-serif";
		for (const part of [0.5, 1]) {
			const at = Math.round(y(highest * part)) + 0.5;
			pen.beginPath();
			pen.moveTo(0, at);
			pen.lineTo(width, at);
			pen.stroke();
			pen.fillText(label(highest * part), 2, at + 12);
		}
	}
	for (const line of lines) {
		const points = line.points.filter(([time]) => now - time <= span);
		if (points.length < 2) continue;
		const paint = resolved(line.colour);
		trace(pen, points, x, y);
		pen.strokeStyle = paint;
		pen.lineWidth = 1.5;
		pen.lineJoin = "round";
		pen.stroke();
		pen.lineTo(x(points.at(-1)[0]), height);
		pen.lineTo(x(points[0][0]), height);
		pen.closePath();
		pen.globalAlpha = 0.14;
		pen.fillStyle = paint;
		pen.fill();
		pen.globalAlpha = 1;
	}
}

/** Values over time, the last five minutes of them. */
export class Series {
	constructor() {
		this.points = [];
	}

	add(time, value) {
		this.points.push([time, value]);
		while (this.points.length && time - this.points[0][0] > SPAN + 10) this.points.shift();
	}

	get last() {
		return this.points.length ? this.points.at(-1)[1] : 0;
	}
}
