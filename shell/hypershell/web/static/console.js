// SPDX-License-Identifier: Apache-2.0
// A VM's console in xterm.js.

import { socket } from "/api.js";
import { el } from "/dom.js";

const FONT = 'ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace';
const THEME = { background: "#0b0e13", foreground: "#dfe7ef", cursor: "#4fd1c5", selectionBackground: "#33506b" };

// xterm.js makes style elements, which our policy lets in by the page's nonce only.
const nonce = document.querySelector("script[nonce]")?.nonce;
const plain = document.createElement.bind(document);
document.createElement = (name, options) => {
	const made = plain(name, options);
	if (name === "style") made.nonce = nonce;
	return made;
};

let looks = null; // xterm.js's own, once

/** The console of one VM inside `place`; `left` is called when the keyboard is to leave it. */
export class Console {
	constructor(place, vm, left) {
		this.vm = vm;
		this.said = el("span", { class: "said", role: "status" }, "…");
		this.look = el("input", { type: "checkbox", onchange: () => this.connect() });
		const tools = el("div", { class: "terminal-tools" }, this.said,
			el("label", {}, this.look, " only look"),
			el("button", { title: "Take the keyboard from who attached first", onclick: () => this.connect("steal") }, "Take the keyboard"),
			el("button", { onclick: () => this.connect() }, "Attach again"));
		this.screen = el("div", { class: "terminal" });
		place.append(tools, this.screen);
		this.closed = false;
		this.start(left);
	}

	async start(left) {
		let Terminal;
		try {
			looks ??= document.head.appendChild(el("link", { rel: "stylesheet", href: "/xterm.css" }));
			({ Terminal } = await import("/xterm.mjs"));
		} catch {
			this.said.textContent = "xterm.js is not installed here (HYPERGEN_XTERM); vm_console in the shell works.";
			return;
		}
		if (this.closed) return;
		this.term = new Terminal({ fontFamily: FONT, fontSize: 14, lineHeight: 1.15, theme: THEME, scrollback: 5000, cursorBlink: true });
		this.term.open(this.screen);
		this.term.attachCustomKeyEventHandler((event) => {
			if (event.ctrlKey && event.key === "]") {
				if (event.type === "keydown") left();
				return false;
			}
			return true;
		});
		const bytes = new TextEncoder();
		this.term.onData((text) => this.type(bytes.encode(text)));
		this.term.onBinary((text) => this.type(Uint8Array.from(text, (one) => one.charCodeAt(0) & 255)));
		this.term.onResize((told) => this.tell({ size: [told.cols, told.rows] }));
		this.watch = new ResizeObserver(() => this.fit());
		this.watch.observe(this.screen);
		this.fit();
		this.connect();
		this.term.focus();
	}

	/** As many columns and rows as the place has room for. */
	fit() {
		const drawn = this.screen.querySelector(".xterm-screen");
		if (!drawn || !drawn.clientWidth || !this.screen.clientWidth) return;
		const wide = drawn.clientWidth / this.term.cols;
		const high = drawn.clientHeight / this.term.rows;
		const cols = Math.max(Math.floor((this.screen.clientWidth - 16) / wide), 10);
		const rows = Math.max(Math.floor(this.screen.clientHeight / high), 3);
		if (cols !== this.term.cols || rows !== this.term.rows) this.term.resize(Math.min(cols, 500), Math.min(rows, 300));
	}

	connect(mode = this.look.checked ? "look" : "") {
		this.ws?.close();
		this.term.reset();
		const ws = socket(`console/${this.vm}?mode=${mode}`);
		this.ws = ws;
		ws.binaryType = "arraybuffer";
		this.said.textContent = "attaching…";
		ws.onopen = () => {
			this.said.textContent = mode === "look" ? "You only look." : "Every key is the guest's; Ctrl+] leaves.";
			this.tell({ size: [this.term.cols, this.term.rows] });
			this.term.focus();
		};
		ws.onmessage = (event) => {
			if (typeof event.data === "string") this.event(JSON.parse(event.data));
			else this.term.write(new Uint8Array(event.data));
		};
		ws.onclose = () => {
			if (this.ws === ws && !this.ended) this.said.textContent = "No console: the VM does not run, or the connection is lost.";
		};
		this.ended = false;
	}

	event(told) {
		if (told.event === "ended") {
			this.ended = true;
			this.said.textContent = `The VM has ended${told.reason ? ` (${told.reason})` : ""}.`;
		} else if (told.event === "panicked") this.said.textContent = "The guest's kernel has panicked.";
		else if (told.event === "skipped") this.term.write("\r\n[output skipped: this browser is slower than the guest]\r\n");
	}

	/** The VM runs again. */
	again() {
		if (this.ended && this.term) this.connect();
	}

	type(bytes) {
		// A paste may be longer than a message may be.
		for (let at = 0; at < bytes.length; at += 16384) {
			if (this.ws?.readyState === WebSocket.OPEN) this.ws.send(bytes.subarray(at, at + 16384));
		}
	}

	tell(value) {
		if (this.ws?.readyState === WebSocket.OPEN && !this.look.checked) this.ws.send(JSON.stringify(value));
	}

	close() {
		this.closed = true;
		this.watch?.disconnect();
		this.ws?.close();
		this.term?.dispose();
	}
}
